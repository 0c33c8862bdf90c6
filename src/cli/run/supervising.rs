//! The supervisor's options of `hoop run`, each also as a `HOOP_RUN_…` variable.

use std::time::Duration;

use clap::{Args, ValueEnum};
use nix::sys::signal::Signal;

use crate::supervisor::{Config, Leftovers, SignalExit};

/// Highest signal number.
const MAX_SIGNAL: i32 = 64;

/// How signals and the application's end are dealt with.
#[derive(Args)]
#[command(next_help_heading = "Supervisor")]
pub(super) struct Supervising {
    /// Send signals to the application's whole process group
    #[arg(long, env = "HOOP_RUN_SIGNAL_GROUP")]
    signal_group: bool,
    /// Forward a signal as another one, or not at all: TERM:QUIT, 15:3, HUP:none (may be repeated)
    #[arg(long, env = "HOOP_RUN_MAP_SIGNAL", value_name = "FROM:TO", value_parser = mapping, value_delimiter = ',')]
    map_signal: Vec<(i32, Option<i32>)>,
    /// Whether TERM is forwarded; `never` where the platform tells every process itself (Heroku, KillMode=control-group)
    #[arg(
        long,
        env = "HOOP_RUN_FORWARD_TERM",
        value_name = "WHEN",
        value_enum,
        default_value_t
    )]
    forward_term: When,
    /// Kill the application's group this long after the first TERM, INT or QUIT; default: never, the platform has its own clock
    #[arg(long, env = "HOOP_RUN_STOP_TIMEOUT", value_name = "TIME", value_parser = duration)]
    stop_timeout: Option<Duration>,
    /// What happens to the rest of the application's own group when it has ended (PID 1 ends everything in any case)
    #[arg(
        long,
        env = "HOOP_RUN_LEFTOVERS",
        value_name = "WHAT",
        value_enum,
        default_value_t
    )]
    leftovers: Rest,
    /// How long open sessions, and as PID 1 everything else that is left, may take to end
    #[arg(long, env = "HOOP_RUN_LEFTOVER_GRACE", value_name = "TIME", value_parser = duration, default_value = "2s")]
    leftover_grace: Duration,
    /// How long a queued report may delay the exit
    #[arg(long, env = "HOOP_RUN_FLUSH_TIMEOUT", value_name = "TIME", value_parser = duration, default_value = "200ms")]
    flush_timeout: Duration,
    /// How the application's death by a signal is passed on: auto dies of the same signal, as PID 1 leaves with 128+n
    #[arg(
        long,
        env = "HOOP_RUN_SIGNAL_EXIT",
        value_name = "HOW",
        value_enum,
        default_value_t
    )]
    signal_exit: How,
    /// An exit status that counts as 0, for example 143 (may be repeated)
    #[arg(
        long,
        env = "HOOP_RUN_OK_EXIT",
        value_name = "STATUS",
        value_delimiter = ','
    )]
    ok_exit: Vec<u8>,
    /// The signal that the application gets when hoop dies, or none
    #[arg(long, env = "HOOP_RUN_ON_PARENT_DEATH", value_name = "SIGNAL", value_parser = signal_or_none, default_value = "TERM")]
    on_parent_death: SignalOrNone,
    /// The signal that hoop gets, and forwards, when its own parent dies; default: none
    #[arg(long, env = "HOOP_RUN_PARENT_DEATH", value_name = "SIGNAL", value_parser = signal_or_none, default_value = "none")]
    parent_death: SignalOrNone,
    /// The longest pause before a dead agent is started again
    #[arg(long, env = "HOOP_RUN_AGENT_BACKOFF_MAX", value_name = "TIME", value_parser = duration, default_value = "30s", hide = true)]
    agent_backoff_max: Duration,
}

/// Whether a signal is forwarded.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum When {
    /// Whoever sent it.
    #[default]
    Always,
    /// The platform tells the application itself.
    Never,
}

/// What to do with the rest of a group.
#[derive(Clone, Copy, Default, ValueEnum)]
enum Rest {
    /// Nothing.
    Leave,
    /// TERM, without waiting.
    #[default]
    Term,
    /// KILL.
    Kill,
}

/// How to leave after a death by a signal.
#[derive(Clone, Copy, Default, ValueEnum)]
enum How {
    /// By the same signal; as PID 1 with 128+n.
    #[default]
    Auto,
    /// By the same signal.
    Raise,
    /// With 128+n.
    Code,
}

/// A signal, or `none`.
#[derive(Clone, Copy)]
struct SignalOrNone(Option<i32>);

impl Supervising {
    /// Writes the options into a configuration.
    pub(super) fn apply(self, config: &mut Config) {
        config.on_parent_death = self.on_parent_death.0;
        config.parent_death = self.parent_death.0;
        let options = &mut config.options;
        options.map = self.map_signal;
        options.group = self.signal_group;
        options.forward_term = self.forward_term == When::Always;
        options.stop_timeout = self.stop_timeout;
        options.leftovers = match self.leftovers {
            Rest::Leave => Leftovers::Leave,
            Rest::Term => Leftovers::Term,
            Rest::Kill => Leftovers::Kill,
        };
        options.leftover_grace = self.leftover_grace;
        options.flush_timeout = self.flush_timeout;
        options.signal_exit = match self.signal_exit {
            How::Auto => SignalExit::Auto,
            How::Raise => SignalExit::Raise,
            How::Code => SignalExit::Code,
        };
        options.ok_exit = self.ok_exit.into_iter().map(i32::from).collect();
        options.agent_backoff_max = self.agent_backoff_max;
    }
}

/// Reads `TERM`, `SIGTERM` or `15`.
fn signal(text: &str) -> Result<i32, String> {
    let number = text
        .parse::<i32>()
        .ok()
        .filter(|number| (1..=MAX_SIGNAL).contains(number));
    let name = text.to_ascii_uppercase();
    let name = if name.starts_with("SIG") {
        name
    } else {
        format!("SIG{name}")
    };
    number
        .or_else(|| name.parse::<Signal>().ok().map(|signal| signal as i32))
        .ok_or_else(|| format!("'{text}' is no signal: give a name such as TERM, or a number from 1 to {MAX_SIGNAL}"))
}

fn signal_or_none(text: &str) -> Result<SignalOrNone, String> {
    match text {
        "none" | "0" => Ok(SignalOrNone(None)),
        _ => signal(text).map(Some).map(SignalOrNone),
    }
}

fn mapping(text: &str) -> Result<(i32, Option<i32>), String> {
    let (from, to) = text
        .split_once(':')
        .ok_or_else(|| format!("'{text}' is not FROM:TO"))?;
    Ok((signal(from)?, signal_or_none(to)?.0))
}

/// Reads `500ms`, `2s` or `5m`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: give a number with ms, s or m, for example 2s");
    let digits = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u32 = number.parse().map_err(|_| wrong())?;
    match unit {
        "ms" => Ok(Duration::from_millis(number.into())),
        "s" => Ok(Duration::from_secs(number.into())),
        "m" => Ok(Duration::from_secs(u64::from(number) * 60)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(duration("10ms"), Ok(Duration::from_millis(10)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        for wrong in ["", "5", "s", "-1s", "1h", "1.5s", "99999999999s", "1 s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    /// supervisor S-10.
    #[test]
    fn a_signal_is_a_name_or_a_number_and_may_be_dropped() {
        assert_eq!(
            mapping("TERM:QUIT"),
            Ok((libc::SIGTERM, Some(libc::SIGQUIT)))
        );
        assert_eq!(
            mapping("SIGTERM:3"),
            Ok((libc::SIGTERM, Some(libc::SIGQUIT)))
        );
        assert_eq!(mapping("hup:none"), Ok((libc::SIGHUP, None)));
        assert_eq!(mapping("15:0"), Ok((libc::SIGTERM, None)));
        assert_eq!(mapping("34:64"), Ok((34, Some(64))));
        for wrong in [
            "", "TERM", "TERM:", ":TERM", "0:TERM", "65:1", "X:TERM", "TERM:X",
        ] {
            assert!(mapping(wrong).is_err(), "{wrong}");
        }
    }
}
