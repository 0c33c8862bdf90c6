//! What both programs share: the wrappers that are compared, processes that are watched and ended, and the applications
//! that are run under the wrappers (this same program, called with `probe NAME`).
#![allow(dead_code, reason = "each program uses a part")]

pub(crate) mod probe;
pub(crate) mod process;
pub(crate) mod reader;
pub(crate) mod wrapper;

use std::error::Error;
use std::time::{Duration, Instant};

/// What can go wrong in a measurement itself.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How long something that should happen may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Pause between two looks at a condition that cannot be waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Waits until a condition holds; whether it did in time.
pub(crate) fn eventually(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let limit = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= limit {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}
