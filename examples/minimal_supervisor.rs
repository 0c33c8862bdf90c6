//! The library's supervisor without anything beside it: `minimal_supervisor CMD ARGS…` is a small init.
//!
//! It starts CMD with everything as it was inherited, forwards signals, reaps, and leaves as CMD left. As PID 1 of a
//! container it ends what CMD left behind.
#![no_main]

use std::ffi::{c_char, c_int};

use hoop::supervisor::{self, Config};
use hoop::sys::Inherited;

/// The C entry: Rust's own would change what the program inherits before anybody could note it.
///
/// # Safety
///
/// Called by the C start-up, once, with the process' arguments.
#[expect(unsafe_code, reason = "the entry symbol")]
// SAFETY: the C start-up calls this symbol, once, and nothing else of that name is linked.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(count: c_int, arguments: *mut *mut c_char) -> c_int {
    // SAFETY: first thing in the entry symbol, with its own arguments.
    let inherited = unsafe { Inherited::capture(count, arguments) };
    let program = inherited.args().into_iter().skip(1).collect();
    supervisor::run(Config::new(program), &inherited).leave()
}
