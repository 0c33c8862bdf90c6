mod gateway;
mod layering;
mod process;
mod protocol;
mod session_process;
mod supervisor;
mod support;
