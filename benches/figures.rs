//! What the supervisor costs, beside other inits, in turn in one run: medians, and what `hoop` has over each.
//!
//! `cargo bench --bench figures` takes the full number of rounds, `cargo bench --bench figures -- 50` fewer;
//! `HOOP_BENCH_BINARY` is another `hoop`. `hoop` serves its local gateway here (nothing configured), `hoop --offline` has no
//! agent. All columns of a row are measured in the same seconds: compare within a row, and run again on a quiet machine
//! before believing a difference.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "a program of its own, which starts others and owns them"
)]

mod support;

use std::fs;
use std::io::{Read, Write, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::process::{Running, Seen, children, settle, sweep};
use crate::support::wrapper::Wrapper;
use crate::support::{Result, eventually, probe};

/// The columns after the first, with the words before a command.
const WRAPPERS: &[(&str, &[&str])] = &[
    ("hoop", &["hoop", "run", "--"]),
    ("hoop --offline", &["hoop", "run", "--offline", "--"]),
    ("tini-static", &["tini-static", "--"]),
    ("tini", &["tini", "--"]),
    ("dumb-init", &["dumb-init", "--"]),
    ("catatonit", &["catatonit", "--"]),
];

/// Rounds, unless told otherwise.
const ROUNDS: usize = 300;

/// Rounds that only warm the caches.
const WARM_UP: usize = 5;

/// How long a process is left alone between two signals, to see it woken from a sleeping processor.
const REST: Duration = Duration::from_millis(2);

/// How long wake-ups are counted.
const IDLE: Duration = Duration::from_secs(10);

/// How long an agent may take to serve.
const ONLINE_WITHIN: Duration = Duration::from_secs(10);

/// A row: what is measured, in which unit, one number per column.
struct Row {
    what: &'static str,
    unit: &'static str,
    numbers: Vec<Option<f64>>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("figures: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if probe::run(&arguments)? {
        return Ok(());
    }
    settle()?;
    let rounds = arguments
        .iter()
        .skip(1)
        .find_map(|word| word.parse().ok())
        .unwrap_or(ROUNDS);
    let place = tempfile::tempdir()?;
    let wrappers: Vec<Wrapper> = Wrapper::those(WRAPPERS, place.path())
        .into_iter()
        .flatten()
        .collect();
    let mut rows = vec![
        start_to_exit(&wrappers, rounds)?,
        start_to_application(&wrappers, rounds)?,
    ];
    rows.extend(forwarding(&wrappers, rounds)?);
    rows.extend(idle(&wrappers)?);
    rows.push(size(&wrappers));
    print(&wrappers, &rows, rounds)?;
    Ok(())
}

/// Takes every wrapper's turn, round after round; the medians, in microseconds.
fn medians(
    wrappers: &[Wrapper],
    rounds: usize,
    mut turn: impl FnMut(usize, &Wrapper) -> Result<Duration>,
) -> Result<Vec<Option<f64>>> {
    let mut taken = vec![Vec::new(); wrappers.len()];
    for round in 0..rounds + WARM_UP {
        for (column, (wrapper, taken)) in wrappers.iter().zip(&mut taken).enumerate() {
            let took = turn(column, wrapper)?;
            if round >= WARM_UP {
                taken.push(took);
            }
        }
    }
    Ok(taken.into_iter().map(median).collect())
}

fn median(mut taken: Vec<Duration>) -> Option<f64> {
    taken.sort_unstable();
    let middle = taken.get(taken.len() / 2)?;
    Some(middle.as_secs_f64() * 1e6)
}

fn start_to_exit(wrappers: &[Wrapper], rounds: usize) -> Result<Row> {
    let numbers = medians(wrappers, rounds, |_, wrapper| {
        let mut command = wrapper.command(&["/bin/true"]);
        let before = Instant::now();
        let status = command.status()?;
        let took = before.elapsed();
        sweep();
        Ok(status.success().then_some(took).ok_or(wrapper.name)?)
    })?;
    Ok(Row {
        what: "start to exit of `/bin/true`",
        unit: "µs",
        numbers,
    })
}

fn start_to_application(wrappers: &[Wrapper], rounds: usize) -> Result<Row> {
    let probe = probe::path()?;
    let numbers = medians(wrappers, rounds, |_, wrapper| {
        let mut command = wrapper.command(&[&probe, "probe", "stamp"]);
        let before = probe::now();
        let mut running = Running::start(&mut command)?;
        let at = stamp(&mut running)?;
        Ok(Duration::from_nanos(at.saturating_sub(before)))
    })?;
    Ok(Row {
        what: "start to the application's first instruction",
        unit: "µs",
        numbers,
    })
}

/// The time that a probe tells.
fn stamp(running: &mut Running) -> Result<u64> {
    let mut bytes = [0; 8];
    running.output()?.get_mut().read_exact(&mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}

fn forwarding(wrappers: &[Wrapper], rounds: usize) -> Result<Vec<Row>> {
    let probe = probe::path()?;
    let mut running = Vec::new();
    for wrapper in wrappers {
        let mut one = Running::start(&mut wrapper.command(&[&probe, "probe", "latency"]))?;
        one.line().ok_or(wrapper.name)?;
        running.push(one);
    }
    await_agents(&running);
    let mut rows = Vec::new();
    for (what, rest) in [
        (
            "a signal to the application's handler, busy",
            Duration::ZERO,
        ),
        ("a signal to the application's handler, idle", REST),
    ] {
        let numbers = medians(wrappers, rounds, |column, wrapper| {
            let one = running.get_mut(column).ok_or(wrapper.name)?;
            std::thread::sleep(rest);
            let before = probe::now();
            kill(one.pid(), Signal::SIGUSR1)?;
            let at = stamp(one)?;
            Ok(Duration::from_nanos(at.saturating_sub(before)))
        })?;
        rows.push(Row {
            what,
            unit: "µs",
            numbers,
        });
    }
    Ok(rows)
}

/// Waits until every agent among these has its private socket.
fn await_agents(running: &[Running]) {
    let served = |one: &Running| agent_of(one.pid()).is_none_or(listens);
    // One that does not come shows in the numbers.
    eventually(ONLINE_WITHIN, || running.iter().all(served));
}

/// Whether a process has a socket that listens, by the only list that names them.
fn listens(pid: Pid) -> bool {
    let list = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?;
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    list.lines().any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Flags 00010000: it listens. Field 6 is the inode, field 7 a path.
        fields.get(3) == Some(&"00010000")
            && fields
                .get(6)
                .is_some_and(|inode| sockets.iter().any(|own| own == inode))
    })
}

fn agent_of(supervisor: Pid) -> Option<Pid> {
    let is_agent = |child: &Seen| {
        fs::read(format!("/proc/{}/cmdline", child.pid))
            .is_ok_and(|words| words == b"hoop\0agent\0")
    };
    children(supervisor)
        .into_iter()
        .find(is_agent)
        .map(|child| child.pid)
}

/// Memory, page faults and wake-ups of wrappers that have nothing to do.
fn idle(wrappers: &[Wrapper]) -> Result<Vec<Row>> {
    let mut running = Vec::new();
    for wrapper in wrappers {
        let mut one = Running::start(&mut wrapper.command(&["sh", "-c", "echo; exec sleep 1000"]))?;
        one.line().ok_or(wrapper.name)?;
        running.push(one);
    }
    await_agents(&running);
    let of = |measure: &dyn Fn(Pid) -> Option<f64>| {
        let numbers = running
            .iter()
            .zip(wrappers)
            .map(|(one, wrapper)| (!wrapper.is_none()).then(|| measure(one.pid())).flatten());
        numbers.collect::<Vec<_>>()
    };
    let faults = of(&|pid| Some(f64::from(u32::try_from(Seen::of(pid)?.minor_faults).ok()?)));
    let before = of(&switches);
    let agents_before = of(&|pid| switches(agent_of(pid)?));
    std::thread::sleep(IDLE);
    let woken = difference(of(&switches), &before);
    let agents_woken = difference(of(&|pid| switches(agent_of(pid)?)), &agents_before);
    let private = of(&|pid| Some(memory(pid, "Private_Clean:")? + memory(pid, "Private_Dirty:")?));
    let anonymous = of(&|pid| memory(pid, "Anonymous:"));
    let shares = of(&|pid| {
        let agent = agent_of(pid).map_or(Some(0.0), |agent| memory(agent, "Pss:"));
        Some(memory(pid, "Pss:")? + agent?)
    });
    Ok(vec![
        Row {
            what: "page faults of the supervisor",
            unit: "",
            numbers: faults,
        },
        Row {
            what: "private memory of the supervisor",
            unit: "kB",
            numbers: private,
        },
        Row {
            what: "anonymous memory of the supervisor",
            unit: "kB",
            numbers: anonymous,
        },
        Row {
            what: "PSS of supervisor and agent",
            unit: "kB",
            numbers: shares,
        },
        Row {
            what: "wake-ups of the supervisor in 10 s",
            unit: "",
            numbers: woken,
        },
        Row {
            what: "wake-ups of the agent in 10 s",
            unit: "",
            numbers: agents_woken,
        },
    ])
}

fn difference(after: Vec<Option<f64>>, before: &[Option<f64>]) -> Vec<Option<f64>> {
    let pairs = after.into_iter().zip(before);
    pairs
        .map(|(after, before)| Some(after? - (*before)?))
        .collect()
}

fn switches(pid: Pid) -> Option<f64> {
    field(&format!("/proc/{pid}/status"), "voluntary_ctxt_switches:")
}

/// A number of a process' memory in kB; nothing where it may not be read.
fn memory(pid: Pid, name: &str) -> Option<f64> {
    field(&format!("/proc/{pid}/smaps_rollup"), name)
}

fn field(file: &str, name: &str) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn size(wrappers: &[Wrapper]) -> Row {
    let length = |wrapper: &Wrapper| {
        let length = fs::metadata(wrapper.program()?).ok()?.len();
        Some(f64::from(u32::try_from(length / 1000).ok()?))
    };
    Row {
        what: "size of the program",
        unit: "kB",
        numbers: wrappers.iter().map(length).collect(),
    }
}

/// The table, and under it what the bars are about.
fn print(wrappers: &[Wrapper], rows: &[Row], rounds: usize) -> Result<()> {
    let mut out = stdout();
    let names: Vec<_> = wrappers.iter().map(|wrapper| wrapper.name).collect();
    writeln!(out, "Medians of {rounds}, in turn in one run.\n")?;
    writeln!(out, "| | {} |", names.join(" | "))?;
    writeln!(out, "|---|{}", "---:|".repeat(names.len()))?;
    for row in rows {
        let cells = row.numbers.iter().map(|number| match number {
            Some(number) => format!("{number:.0}"),
            None => "–".to_owned(),
        });
        let cells: Vec<_> = cells.collect();
        let unit = if row.unit.is_empty() {
            String::new()
        } else {
            format!(", {}", row.unit)
        };
        writeln!(out, "| {}{unit} | {} |", row.what, cells.join(" | "))?;
    }
    writeln!(out)?;
    let column = |name: &str| names.iter().position(|column| *column == name);
    for row in rows.iter().filter(|row| row.unit == "µs") {
        for name in ["hoop", "hoop --offline"] {
            for other in ["unwrapped", "tini-static", "tini"] {
                let at = |name| *row.numbers.get(column(name)?)?;
                if let (Some(ours), Some(theirs)) = (at(name), at(other)) {
                    let over = ours - theirs;
                    let ratio = ours / theirs;
                    writeln!(
                        out,
                        "{}: {name} over {other}: {over:+.0} µs, × {ratio:.2}",
                        row.what
                    )?;
                }
            }
        }
    }
    Ok(())
}
