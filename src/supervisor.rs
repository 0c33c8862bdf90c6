//! The supervisor: runs an application as if nothing stood before it, an agent beside it, and leaves as the application
//! did.
//!
//! # Theory of operation
//!
//! One thread, no runtime. All signals are blocked from the first instruction on and taken one at a time, with their sender,
//! so that each is told to the application exactly once: not when the terminal has told it already, and never before it has
//! been executed. [`state`] decides, as a pure function of state, event and time; [`run`](run()) waits, reaps and performs.
//!
//! The application is started first. Only then do our own descriptors, directory and standard streams go away, so that a
//! reader of the application's output sees its end when the application ends it; and only then is the agent started, from
//! our own file. Nothing the agent does or fails to do delays the application, its signals or its exit.

mod agent;
mod config;
mod event;
mod exit;
pub(crate) mod failure;
mod leftovers;
mod run;
mod state;

pub use config::{Config, Leftovers, Options, SignalExit};
pub use exit::Exit;
pub use run::run;
