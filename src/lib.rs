//! `hoop`: an application under a transparent supervisor, and consoles and tasks in its environment.
//!
//! The story of the program, in the order in which processes appear:
//!
//! * [`supervisor`]: `hoop run` starts the application, forwards signals, reaps, leaves with its code.
//! * `agent`: a process beside the application, connected by `link` to a gateway, serving sessions.
//! * [`session`]: one process per session, which owns a console's terminal or a task's pipes and everything started there.
//! * `gateway`: holds keys, knows agents and connections, routes sessions; also inside the agent when nothing is configured.
//! * `client` and `admin`: what people type.
//!
//! [`control`] is how these processes of ours talk, `protocol` how they talk over the network, [`sys`] the kernel made safe.

pub mod control;
pub mod session;
pub mod supervisor;
#[allow(unsafe_code, reason = "the one place for system calls")]
pub mod sys;

#[cfg(feature = "client")]
pub mod admin;
#[cfg(feature = "agent")]
pub mod agent;
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
pub mod config;
#[cfg(feature = "gateway")]
pub mod gateway;
#[cfg(feature = "wire")]
pub mod key;
#[cfg(feature = "wire")]
pub mod link;
#[cfg(feature = "wire")]
pub mod local;
#[cfg(feature = "wire")]
pub mod protocol;
pub mod telemetry;
