//! What the application inherits: the same as without `hoop run`, compared with exactly that.

use std::ffi::OsStr;
use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use crate::process::{HOOP, Running, apart, eventually, output, run, under_run};

/// Output of a shell script, in which `$RUN` stands before the command to compare: nothing, or `hoop run --`.
#[track_caller]
fn same(script: &str) -> String {
    let output = |run: &str| {
        let mut command = Command::new("bash");
        command
            .args(["-c", script])
            .env("RUN", run)
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        apart(&mut command);
        let mut running = Running::start(&mut command);
        let mut text = String::new();
        running
            .stdout
            .as_mut()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(running.wait().success(), "{}", running.stderr());
        text
    };
    let bare = output("");
    assert_eq!(bare, output(&format!("{HOOP} run --")));
    assert!(!bare.is_empty());
    bare
}

#[test]
fn standard_input_and_output_are_the_applications() {
    let mut running = Running::start(&mut under_run(&["cat"]));
    running.say("a line\n");
    assert_eq!(running.line(), "a line");
    assert!(
        running.wait().success(),
        "the end of the input was not seen"
    );
}

#[test]
fn mask_and_dispositions_are_inherited() {
    let text = same(
        "env --block-signal=USR1,RTMIN+1 --ignore-signal=HUP,PIPE,CHLD,INT $RUN grep -E 'Sig(Blk|Ign)' /proc/self/status",
    );
    assert!(text.contains("SigBlk:\t0000000400000200"), "{text}");
    assert!(text.contains("11003\n"), "{text}");
    same("$RUN grep -E 'Sig(Blk|Ign)' /proc/self/status");
}

#[test]
fn limits_directory_and_rights_are_inherited() {
    same(
        "cd /tmp; umask 027; ulimit -n 300; ulimit -s 4096; nice -n 3 $RUN bash -c 'pwd -P; umask; ulimit -a; ulimit -Ha; id; nice; cat /proc/self/oom_score_adj; grep -E \"Cap|NoNew|Seccomp|Cpus|Mems\" /proc/self/status'",
    );
}

#[test]
fn descriptors_are_inherited() {
    let list =
        "$RUN bash -c 'cd /proc/$$/fd; for f in *; do [ $f -lt 200 ] && echo $f; done; true'";
    same(&format!("exec 7</dev/null 9>/dev/null; {list}"));
    same(&format!("exec 7</dev/null <&-; {list}"));
    same(&format!("exec 2>&-; {list}"));
    let closed = "$RUN bash -c 'for n in 0 1 2; do [ -e /proc/$$/fd/$n ] && echo $n >&3; done; echo end >&3'";
    same(&format!("exec 3>&1; exec <&- >&- 2>&-; {closed}"));
}

#[test]
fn words_are_passed_byte_for_byte() {
    same(
        r#"$RUN python3 -c 'import sys; print(open("/proc/self/cmdline","rb").read())' '' 'a b' $'\xff\n' -- --name x -v 2>/dev/null || $RUN cat /proc/self/cmdline"#,
    );
}

#[test]
fn the_environment_is_passed_byte_for_byte() {
    let environment = |command: &mut Command| {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap());
        command
            .env("ODD", OsStr::from_bytes(b"\xff=\n="))
            .env("EMPTY", "")
            .env("TOKEN", "is not ours");
        apart(command);
        output(command).stdout
    };
    let bare = environment(Command::new("cat").arg("/proc/self/environ"));
    assert_eq!(
        environment(&mut under_run(&["cat", "/proc/self/environ"])),
        bare
    );
}

#[test]
fn a_duplicate_in_the_environment_stays_where_it_is() {
    use hoop::sys::exec::{Environment, Image, Search, Words};
    use hoop::sys::signal::SignalSet;
    use hoop::sys::spawn::{Spawn, Standing};
    let mut file = tempfile::tempfile().unwrap();
    let words = Words::from_arguments(&[HOOP, "run", "--", "cat", "/proc/self/environ"]).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let runtime = format!("XDG_RUNTIME_DIR={}", directory.path().display());
    let runtime = std::ffi::CString::new(runtime).unwrap();
    let entries = [
        c"A=1",
        c"B=2",
        c"A=3",
        c"PATH=/usr/bin:/bin",
        c"novalue",
        runtime.as_c_str(),
    ];
    let mut environment = Environment::new(entries);
    let pid = Spawn {
        image: Image::Search(Search::new(&words, &environment)),
        words: &words,
        environment: &mut environment,
        standing: Standing::NewSession,
        descriptors: vec![(file.as_fd(), 1)],
        directory: None,
        mask: SignalSet::EMPTY,
        ignored: SignalSet::EMPTY,
        parent_death: None,
    }
    .run()
    .unwrap();
    assert_eq!(hoop::sys::wait::ended(pid).unwrap().code(), Some(0));
    let mut seen = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut seen).unwrap();
    let given: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry.to_bytes_with_nul().to_vec())
        .collect();
    assert_eq!(seen, given);
}

#[test]
fn variables_that_name_our_pid_name_the_applications() {
    let script = format!(
        "LISTEN_PID=$$ WATCHDOG_PID=1$$ exec {HOOP} run -- sh -c 'echo $LISTEN_PID $$; echo $WATCHDOG_PID'"
    );
    let mut running = Running::start(Command::new("sh").args(["-c", &script]));
    let line = running.line();
    let (given, own) = line.split_once(' ').unwrap();
    assert_eq!(given, own);
    assert_eq!(running.line(), format!("1{}", running.pid()));
}

#[test]
fn no_secret_of_ours_can_be_read_anywhere() {
    const CANARY: &str = "canary-7f3a";
    let mut command = Command::new(HOOP);
    let script = "echo ready; tr '\\0' '\\n' </proc/self/environ; echo; echo end; read x";
    command.args(["run", "--key", CANARY, "--", "sh", "-c", script]);
    apart(&mut command);
    for name in ["HOOP_KEY", "HOOP_DSN", "HOOP_TOKEN", "HOOP_DB_URI"] {
        command.env(name, format!("{CANARY}-{name}"));
    }
    let mut running = Running::start(&mut command);
    assert_eq!(running.line(), "ready");
    loop {
        let line = running.line();
        let ours = ["HOOP_KEY", "HOOP_DSN", "HOOP_TOKEN", "HOOP_DB_URI", CANARY];
        assert!(!ours.iter().any(|secret| line.contains(secret)), "{line}");
        if line == "end" {
            break;
        }
    }
    let family = [running.pid(), running.agent()];
    for pid in family {
        for file in ["cmdline", "environ"] {
            let seen = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
            let seen = String::from_utf8_lossy(&seen);
            assert!(!seen.contains(CANARY), "{file} of {pid}: {seen}");
        }
    }
    running.say("\n");
    assert!(running.wait().success());
}

#[test]
fn a_pipe_ends_when_the_application_ends_it() {
    let script = "exec >&-; echo closed >&2; read x; exit 6";
    let mut running = Running::start(&mut under_run(&["sh", "-c", script]));
    let stdout = running.stdout.as_mut().unwrap();
    hoop::sys::fd::set_nonblocking(stdout.get_ref().as_fd()).unwrap();
    // Anything that holds the application's output open would let this fail for ever.
    let end = eventually("the end of the output", || stdout.read(&mut [0]).ok());
    assert_eq!(end, 0);
    assert!(!running.ended());
    running.say("\n");
    assert_eq!(running.wait().code(), Some(6));

    let mut running = Running::start(&mut under_run(&[
        "sh",
        "-c",
        "exec <&-; echo closed; exec sleep 1000",
    ]));
    assert_eq!(running.line(), "closed");
    let mut stdin = running.stdin.take().unwrap();
    eventually("a broken pipe", || stdin.write_all(b"x").err());
    running.signal(libc::SIGTERM);
    running.wait();
}

#[test]
fn a_reader_that_leaves_ends_the_application_by_sigpipe() {
    let mut running = Running::start(&mut under_run(&["yes"]));
    assert_eq!(running.line(), "y");
    running.stdout = None;
    assert_eq!(running.wait().signal(), Some(libc::SIGPIPE));
    assert_eq!(running.stderr(), "");
}

#[test]
fn we_pin_no_directory_and_no_descriptor() {
    let script =
        format!("cd /tmp; exec 7</etc/passwd; exec {HOOP} run -- sh -c 'echo ready; read x'");
    let mut command = Command::new("bash");
    command.args(["-c", &script]);
    apart(&mut command);
    let mut running = Running::start(&mut command);
    assert_eq!(running.line(), "ready");
    running.agent();
    let proc = format!("/proc/{}", running.pid());
    eventually("our directory", || {
        (std::fs::read_link(format!("{proc}/cwd"))
            .unwrap()
            .as_os_str()
            == "/")
            .then_some(())
    });
    let holds_it = || {
        let entries = std::fs::read_dir(format!("{proc}/fd")).unwrap();
        entries
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .any(|path| path.ends_with("passwd"))
    };
    eventually("our descriptors", || (!holds_it()).then_some(()));
    running.say("\n");
    assert!(running.wait().success());
}

#[test]
fn a_run_prints_nothing() {
    let output = run(&["true"]);
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0));
}
