//! Client, gateway, agent and supervisor together: what a slow client does to others, and what a task's result is worth.

use std::io::Read;
use std::process::Stdio;

use crate::process::Running;
use crate::support::hoop::{Place, text};

/// The places in which everything here must hold: this machine alone, and a gateway between.
fn places() -> [Place; 2] {
    [Place::local(), Place::with_gateway()]
}

/// A program of at most `sessions` + 1 tasks, all but one of which write to a reader that does not read.
#[test]
fn nine_stalled_clients_do_not_delay_the_tenth() {
    for place in places() {
        let _app = place.serve("app", &[], &["sleep", "1000"]);
        let mut stalled: Vec<Running> = (0..9)
            .map(|_| {
                let mut command =
                    place.command(&["exec", "app", "--", "sh", "-c", "echo begun; exec yes"]);
                let mut task = Running::start(command.stdin(Stdio::null()));
                // One line read, then nothing more: the pipe to us is full soon.
                assert_eq!(task.line(), "begun");
                task
            })
            .collect();
        let whole = place.exec("app", &["seq", "1", "200000"]);
        assert_eq!(whole.status.code(), Some(0), "{}", text(&whole.stderr));
        assert_eq!(text(&whole.stdout).lines().last(), Some("200000"));
        // The stalled ones are alive, and go on when they are read.
        for task in &mut stalled {
            assert!(!task.ended());
            let mut some = vec![0; 1 << 20];
            task.stdout.as_mut().unwrap().read_exact(&mut some).unwrap();
        }
    }
}

/// Output is complete when the code is the task's: 5 MB, and the code after it.
#[test]
fn a_tasks_output_is_complete_before_its_code() {
    for place in places() {
        let _app = place.serve("app", &[], &["sleep", "1000"]);
        let output = place.exec(
            "app",
            &[
                "sh",
                "-c",
                "head -c 5000000 /dev/zero; echo end >&2; exit 3",
            ],
        );
        assert_eq!(output.stdout.len(), 5_000_000);
        assert_eq!(text(&output.stderr), "end\n");
        assert_eq!(output.status.code(), Some(3));
    }
}

#[test]
fn every_exit_code_is_the_tasks_own() {
    let place = Place::local();
    let _app = place.serve("app", &[], &["sleep", "1000"]);
    for code in [0, 1, 2, 42, 124, 125, 126, 127, 128, 130, 137, 254, 255] {
        let output = place.exec("app", &["sh", "-c", &format!("exit {code}")]);
        assert_eq!(output.status.code(), Some(code));
    }
    for (signal, code) in [("HUP", 129), ("INT", 130), ("KILL", 137), ("TERM", 143)] {
        let output = place.exec("app", &["sh", "-c", &format!("kill -{signal} $$")]);
        assert_eq!(output.status.code(), Some(code));
        assert!(
            text(&output.stderr).contains(&format!("SIG{signal}")),
            "{}",
            text(&output.stderr)
        );
    }
}

/// What a background child still holds does not hold up the task's end, and the child is ended.
#[test]
fn a_child_left_behind_delays_nothing() {
    let place = Place::local();
    let _app = place.serve("app", &[], &["sleep", "1000"]);
    let output = place.exec("app", &["sh", "-c", "sleep 987 & echo $!; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    let left = crate::process::pid(&text(&output.stdout));
    crate::process::eventually("the end of what was left", || {
        (!crate::process::lives(left)).then_some(())
    });
}

/// An environment is the application's byte for byte, less our secrets, plus what describes the session.
#[test]
fn a_session_has_the_applications_environment() {
    for place in places() {
        let mut command = place.application(
            &["--name", "app"],
            &["sh", "-c", "cat /proc/$$/environ > env; exec sleep 1000"],
        );
        command
            .env("EMPTY", "")
            .env("EQUALS", "a=b=c")
            .env("LINES_OF_IT", "one\ntwo")
            .env("NAME:ODD", "x");
        let app = place.start(&mut command);
        place.reached("app", &app);
        let set = |bytes: &[u8]| {
            let entries = bytes
                .split(|byte| *byte == 0)
                .map(|entry| String::from_utf8_lossy(entry).into_owned());
            // What a shell sets for itself, and what describes the session.
            let kept = entries.filter(|entry| {
                !["HOOP_", "PWD=", "OLDPWD=", "SHLVL=", "_="]
                    .iter()
                    .any(|name| entry.starts_with(name))
            });
            kept.collect::<std::collections::BTreeSet<_>>()
        };
        let of_app = set(&std::fs::read(place.directory().join("env")).unwrap());
        let of_session = set(&place.exec("app", &["env", "-0"]).stdout);
        assert_eq!(of_app, of_session);
        assert!(of_app.contains("LINES_OF_IT=one\ntwo"));
        let all = text(&place.exec("app", &["env"]).stdout);
        assert!(!all.contains("HOOP_KEY"), "{all}");
        assert!(all.contains("HOOP_CONNECTION_NAME=app"), "{all}");
    }
}

/// `hoop list` in the words, and the agents of a gateway.
#[test]
fn what_runs_is_listed() {
    let place = Place::with_gateway();
    let _app = place.serve("shop", &[], &["sleep", "1000"]);
    assert_eq!(
        text(&place.hoop(&["list"]).stdout),
        " NAME  TYPE    AGENT  STATUS \n─────────────────────────────\n shop  custom  demo   online \n"
    );
    let agents = text(&place.hoop(&["admin", "get", "agents"]).stdout);
    let mut lines = agents.lines();
    let words = |line: Option<&str>| {
        line.unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        words(lines.next()),
        [
            "UID", "NAME", "MODE", "VERSION", "HOSTNAME", "PLATFORM", "STATUS"
        ]
    );
    let agent = words(lines.next());
    assert_eq!(
        agent.get(1..4).unwrap(),
        ["demo", "embedded", env!("CARGO_PKG_VERSION")]
    );
    assert_eq!(agent.last().unwrap(), "ONLINE");
}

/// Input of any size is passed on as it comes, and its end is the program's end of file.
#[test]
fn a_tasks_input_is_streamed() {
    for place in places() {
        let _app = place.serve("app", &[], &["sleep", "1000"]);
        let mut command = place.command(&[
            "exec",
            "app",
            "--",
            "sh",
            "-c",
            "read -r line; echo \"got $line\"; wc -c",
        ]);
        let mut task = Running::start(&mut command);
        task.say("first\n");
        // Answered while the input is still open.
        assert_eq!(task.line(), "got first");
        let block = "x".repeat(1 << 20);
        for _ in 0..40 {
            task.say(&block);
        }
        task.stdin = None;
        assert_eq!(task.line(), (40 << 20).to_string());
        assert_eq!(task.wait().code(), Some(0));
    }
}

/// A client whose standard output is closed dies as a program in a pipe does, and so does the task.
#[test]
fn a_closed_pipe_ends_the_task() {
    use std::os::unix::process::ExitStatusExt;
    let place = Place::local();
    let _app = place.serve("app", &[], &["sleep", "1000"]);
    let mut task =
        Running::start(&mut place.command(&["exec", "app", "--", "sh", "-c", "echo $$; exec yes"]));
    let program = crate::process::pid(&task.line());
    task.stdout = None;
    let status = task.wait();
    assert!(
        status.code() == Some(141) || status.signal() == Some(libc::SIGPIPE),
        "{status:?}"
    );
    crate::process::eventually("the end of the task", || {
        (!crate::process::lives(program)).then_some(())
    });
}

/// The agent alone, in the foreground: a console can be reached, TERM drains it.
#[test]
fn an_agent_alone_serves_and_leaves_with_zero() {
    for place in places() {
        let mut command = place.command(&["run", "--name", "alone", "--command", "sh"]);
        if let Some(key) = place.key() {
            command.env("HOOP_KEY", key);
        }
        let mut agent = place.start(&mut command);
        place.reached("alone", &agent);
        let output = place.exec("alone", &["sh", "-c", "echo $PPID; exit 5"]);
        assert_eq!(output.status.code(), Some(5));
        agent.signal(libc::SIGTERM);
        assert_eq!(agent.wait().code(), Some(0));
    }
}

/// The private socket answers a moment before the agent has announced itself: a client of that moment waits, and is not told
/// that the name is unknown.
#[test]
fn a_client_that_comes_with_the_application_waits_for_it() {
    for _ in 0..20 {
        let place = Place::local();
        let _app = place.run(&["--name", "app"], &["sleep", "1000"]);
        crate::process::eventually("a private socket", || {
            let mut files = std::fs::read_dir(place.root().join("run/hoop")).ok()?;
            files
                .any(|file| {
                    file.unwrap()
                        .path()
                        .extension()
                        .is_some_and(|end| end == "sock")
                })
                .then_some(())
        });
        let output = place.exec("app", &["echo", "here"]);
        assert_eq!(text(&output.stdout), "here\n", "{}", text(&output.stderr));
    }
}

/// `HOOP_NAME` and `HOOP_COMMAND` stand for the options, and a person at a terminal is told how to get in.
#[test]
fn variables_stand_for_options_and_the_way_in_is_told() {
    let place = Place::local();
    let mut command = place.application(&[], &["sleep", "1000"]);
    command
        .env("HOOP_NAME", "From Env")
        .env("HOOP_COMMAND", "sh -c 'echo \"it  is\" here; exit 4'");
    let mut terminal = crate::support::console::Console::start(&command);
    // Also what the name became.
    terminal.expect("hoop connect from_env");
    let mut console = place.console("from_env");
    console.expect("it  is here");
    assert_eq!(console.wait(), 4);
}

/// With a key the default name is the host's, which is unique where the directory's seldom is.
#[test]
fn with_a_key_the_default_name_is_the_hosts() {
    let place = Place::with_gateway();
    let app = place.run(&[], &["sleep", "1000"]);
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    place.reached(&host.to_lowercase(), &app);
}

/// A child left behind that writes as fast as it can held up the end for as long as its reader read: the time that the link
/// took did not count. What the program itself wrote is bounded by what its pipes hold.
#[test]
fn a_flood_left_behind_does_not_hold_up_the_end() {
    let place = Place::local();
    let _app = place.serve("app", &[], &["sleep", "1000"]);
    let mut command = place.command(&["exec", "app", "--", "sh", "-c", "yes & exit 3"]);
    let mut task = Running::start(command.stdin(Stdio::null()));
    let mut output = Vec::new();
    task.stdout
        .as_mut()
        .unwrap()
        .read_to_end(&mut output)
        .unwrap();
    assert_eq!(task.wait().code(), Some(3));
    assert!(output.len() < 64 << 20, "{} bytes", output.len());
}

/// A session process that is killed takes its program with it: nobody would end it otherwise.
#[test]
fn a_killed_session_process_leaves_no_program() {
    let place = Place::local();
    let _app = place.serve("app", &[], &["sleep", "1000"]);
    let words = ["exec", "app", "--", "sh", "-c", "echo $$; exec sleep 1000"];
    let mut task = Running::start(&mut place.command(&words));
    let program = crate::process::pid(&task.line());
    let session = hoop::sys::tree::one(program).unwrap().parent;
    hoop::sys::process::signal(session, libc::SIGKILL).unwrap();
    assert_eq!(task.wait().code(), Some(255));
    crate::process::eventually("the end of the program", || {
        (!crate::process::lives(program)).then_some(())
    });
}

/// A child left behind that goes on writing to the task's output held up the end for ever: the drain counted silence only
/// (console-sessions E6: at most 2 s while data keeps coming).
#[test]
fn a_child_that_goes_on_writing_does_not_hold_up_the_end() {
    for place in places() {
        let _app = place.serve("app", &[], &["sleep", "1000"]);
        let script = "(while :; do echo x; sleep 0.01; done) & echo child $! >&2; exit 3";
        let mut task = place.start(&mut place.command(&["exec", "app", "--", "sh", "-c", script]));
        assert_eq!(task.wait().code(), Some(3));
        let left = crate::process::pid(&task.logged("child "));
        crate::process::eventually("the end of the child", || {
            (!crate::process::lives(left)).then_some(())
        });
    }
}

/// A pager that waits for a key: a program that had ended by then, its output on the way, was cut off 5 s later, with 255.
/// The sizes are around what all hops and the pipe hold together, where the program ends and its output does not fit.
#[test]
fn a_reader_that_pauses_loses_nothing() {
    for place in places() {
        let _app = place.serve("app", &[], &["sleep", "1000"]);
        let mut tasks: Vec<_> = (400_000..1_200_000)
            .step_by(25_000)
            .map(|size| {
                let script = format!("head -c {size} /dev/zero; exit 6");
                let mut command = place.command(&["exec", "app", "--", "sh", "-c", &script]);
                (size, Running::start(command.stdin(Stdio::null())))
            })
            .collect();
        // Longer than any limit on the way that a slow reader could be taken for something else by.
        crate::process::stays("unread tasks", std::time::Duration::from_secs(7), || {
            tasks
                .iter_mut()
                .filter(|(size, _)| *size > 1_100_000)
                .all(|(_, task)| !task.ended())
        });
        for (size, task) in &mut tasks {
            let mut output = Vec::new();
            task.stdout
                .as_mut()
                .unwrap()
                .read_to_end(&mut output)
                .unwrap();
            assert_eq!(
                (output.len(), task.wait().code()),
                (*size, Some(6)),
                "{}",
                task.stderr()
            );
        }
    }
}

/// Waits until a program has written nothing for a while: every hop between it and its reader is full.
fn stands_still(program: hoop::sys::Pid) {
    use std::time::{Duration, Instant};
    let mut last = (String::new(), Instant::now());
    crate::process::eventually("a full way to the reader", || {
        let now = std::fs::read_to_string(format!("/proc/{program}/io")).unwrap();
        if now != last.0 {
            last = (now, Instant::now());
        }
        (last.1.elapsed() > Duration::from_millis(500)).then_some(())
    });
}

/// A client that does not read holds up the end of an agent alone for a few seconds, well below the ten that platforms give;
/// a second signal ends it at once.
#[test]
fn an_agent_alone_leaves_in_time_and_at_a_second_signal_at_once() {
    use std::time::{Duration, Instant};
    let place = Place::local();
    for signals in [1, 2] {
        let mut agent =
            place.start(&mut place.command(&["run", "--name", "alone", "--command", "sh"]));
        place.reached("alone", &agent);
        let mut command = place.command(&["exec", "alone", "--", "sh", "-c", "echo $$; exec yes"]);
        let mut stalled = Running::start(command.stdin(Stdio::null()));
        stands_still(crate::process::pid(&stalled.line()));
        let start = Instant::now();
        agent.signal(libc::SIGTERM);
        if signals == 2 {
            // The first has been taken when the socket's file is gone or sessions are told; the kernel merges two at once.
            agent.logged("session ended");
            agent.signal(libc::SIGINT);
        }
        let code = agent.wait().code();
        assert!(
            start.elapsed() < Duration::from_secs(6),
            "{:?}",
            start.elapsed()
        );
        assert_eq!(
            code,
            Some(if signals == 2 { 125 } else { 0 }),
            "{}",
            agent.log()
        );
    }
}
