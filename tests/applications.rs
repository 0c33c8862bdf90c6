//! Applications that people have, under `hoop run`: consoles and tasks, on one machine and through `hoop start gateway`.

mod django;
mod interpreters;
mod names;

/// Each test twice: without a gateway and with one.
macro_rules! here_and_through_a_gateway {
    ($($test:ident),+ $(,)?) => {
        mod here {
            $(#[test] fn $test() { super::$test(&mut $crate::support::hoop::Place::local()); })+
        }
        mod through_a_gateway {
            $(#[test] fn $test() { super::$test(&mut $crate::support::hoop::Place::with_gateway()); })+
        }
    };
}
pub(crate) use here_and_through_a_gateway;

/// Debian's, which has Django; not a version manager's.
pub(crate) const PYTHON: &str = "/usr/bin/python3";
