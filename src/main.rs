//! The entry of the program: a C `main` instead of Rust's, whose start changes what an application would inherit (it ignores
//! SIGPIPE, installs handlers, opens `/dev/null` on closed standard descriptors and aborts where there is none).
#![no_main]

use std::ffi::{c_char, c_int};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use hoop::sys::Inherited;

/// Exit code when we failed ourselves.
const FAILED: c_int = 125;

/// Captures the inherited state, runs the command, leaves with its code.
///
/// # Safety
///
/// For the C start-up alone, which calls it once with the arguments as the kernel laid them out.
#[expect(unsafe_code, reason = "the entry symbol")]
// SAFETY: the C start-up calls this symbol, once, and nothing else of that name is linked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(count: c_int, arguments: *mut *mut c_char) -> c_int {
    catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: first thing in the entry symbol, with its own arguments.
        let inherited = unsafe { Inherited::capture(count, arguments) };
        let code = hoop::cli::main(inherited);
        // std flushes at the end of its own `main` only. A reader that is gone has been noticed by whoever wrote.
        let _gone = std::io::stdout().flush();
        code
    }))
    .unwrap_or(FAILED)
}
