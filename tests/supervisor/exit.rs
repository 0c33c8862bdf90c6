//! How `hoop run` leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use crate::process::{Running, run, under_run};

#[test]
fn every_exit_code_is_the_applications() {
    for code in 0..=255 {
        let output = run(&["sh", "-c", &format!("exit {code}")]);
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(
            (output.stdout, output.stderr),
            (vec![], vec![]),
            "a word of ours"
        );
    }
}

#[test]
fn a_death_by_signal_is_died_again() {
    for number in [1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 24, 31, 34, 64] {
        let output = run(&["sh", "-c", &format!("ulimit -c 0; kill -{number} $$")]);
        assert_eq!(output.status.signal(), Some(number));
        assert!(!output.status.core_dumped());
    }
}

#[test]
fn a_program_that_cannot_be_run_is_named_with_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str, mode| {
        let path = directory.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let no_interpreter = file("script", "#!/no/such/thing -x\n", 0o755);
    let not_executable = file("data", "text", 0o644);
    let cases = [
        (
            "no-such-program",
            127,
            "No such file or directory".to_owned(),
        ),
        (
            "/no/such/program",
            127,
            "No such file or directory".to_owned(),
        ),
        ("", 127, "No such file or directory".to_owned()),
        (
            directory.path().to_str().unwrap(),
            126,
            "Is a directory".to_owned(),
        ),
        (&not_executable, 126, "Permission denied".to_owned()),
        (
            &no_interpreter,
            127,
            format!("interpreter '/no/such/thing' of script '{no_interpreter}' not found"),
        ),
    ];
    for (program, code, reason) in cases {
        let output = run(&[program]);
        assert_eq!(output.status.code(), Some(code), "{program}");
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!("hoop: cannot run '{program}': {reason}\n")
        );
    }
}

#[test]
fn a_script_without_an_interpreter_line_is_run_by_the_shell() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    fs::write(&path, "echo \"$1:$2\"; exit 3\n").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    let output = run(&[path.to_str().unwrap(), "a b", ""]);
    assert_eq!(
        (output.status.code(), output.stdout),
        (Some(3), b"a b:\n".to_vec())
    );
}

#[test]
fn an_inherited_ignored_chld_does_not_hide_the_exit() {
    let hoop = crate::process::HOOP;
    let script = format!("trap '' CHLD; exec {hoop} run -- sh -c 'exit 9'");
    let mut running = Running::start(std::process::Command::new("sh").args(["-c", &script]));
    assert_eq!(running.wait().code(), Some(9));
}

#[test]
fn what_is_left_of_the_group_gets_term_and_a_daemon_is_left_alone() {
    let script = "sleep 1000 & echo $!; setsid sleep 1000 >/dev/null 2>&1 & echo $!; exit 4";
    let mut running = Running::start(&mut under_run(&["sh", "-c", script]));
    let (member, daemon) = (
        crate::process::pid(&running.line()),
        crate::process::pid(&running.line()),
    );
    // Until setsid has run, the daemon is in the group like the other.
    let before = Instant::now();
    assert_eq!(running.wait().code(), Some(4));
    assert!(
        before.elapsed() < Duration::from_secs(1),
        "the exit was delayed"
    );
    crate::process::eventually("the end of the group", || {
        (!crate::process::lives(member)).then_some(())
    });
    // The daemon may have been caught before its setsid; if it lives it is ours to end.
    let _gone = hoop::sys::process::signal(daemon, 9);
}
