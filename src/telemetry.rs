//! Logging, to standard error: `LOG_LEVEL` (`trace` … `error`, `off`) and `LOG_ENCODING` (`json`, else for people).
//!
//! Rules: standard output belongs to the application; no credential is ever a field. An agent whose standard error is the
//! application's says only what a person must know.

use std::io::IsTerminal;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

/// What is said when nothing was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Life events too.
    Info,
    /// Only what somebody should look at.
    Warn,
}

/// Sets logging up, once per process; `on`: whether standard error may be written to at all.
pub fn init(on: bool, default: Level) {
    let asked = std::env::var("LOG_LEVEL")
        .ok()
        .and_then(|text| text.to_ascii_lowercase().parse::<LevelFilter>().ok());
    let default = match default {
        Level::Info => LevelFilter::INFO,
        Level::Warn => LevelFilter::WARN,
    };
    let level = if on {
        asked.unwrap_or(default)
    } else {
        LevelFilter::OFF
    };
    // What others' libraries tell of themselves is for finding errors only.
    let ours = tracing_subscriber::filter::Targets::new()
        .with_target("hoop", level)
        .with_default(level.min(LevelFilter::ERROR));
    let registry = tracing_subscriber::registry().with(ours);
    let json = std::env::var("LOG_ENCODING").is_ok_and(|text| text.eq_ignore_ascii_case("json"));
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let set = if json {
        tracing::subscriber::set_global_default(
            registry.with(fmt::layer().json().with_writer(std::io::stderr)),
        )
    } else {
        let layer = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(colours)
            .with_target(false);
        tracing::subscriber::set_global_default(registry.with(layer))
    };
    if let Err(error) = set {
        tracing::debug!("logging is set up already: {error}");
    }
}
