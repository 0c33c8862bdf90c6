//! An image that holds our binary and one static program, nothing else: `hoop run` as its PID 1.
//!
//! The image is a `chroot`, the container a PID and mount namespace. What a container's runtime mounts (`/proc`, `/dev`) is
//! there in some tests and missing in others.

use std::fs;
use std::path::Path;
use std::process::Command;

use hoop::sys::Pid;

use crate::process::{HOOP, available, eventually, skipped};
use crate::support::hoop::{Place, Program, text};

/// A static program with a shell in it.
const BUSYBOX: &str = "/bin/busybox";
/// The application: it ends with 7 when asked to.
const APPLICATION: &str =
    "trap 'exit 7' TERM; echo up; /busybox sleep 1000 & while :; do wait; done";

/// What a runtime mounts, beside the image.
const PROC: &str = "mount -t proc proc \"$image/proc\"";
const TERMINALS: &str = "mount -t devpts -o newinstance,ptmxmode=0666 devpts \"$image/dev/pts\"";
const READ_ONLY: &str = "mount --bind \"$image\" \"$image\"; mount -o remount,bind,ro \"$image\"";

/// `hoop run` in the image, reached from outside through a gateway.
struct Container {
    /// Dropped first: it ends the namespace.
    program: Program,
    place: Place,
}

impl Container {
    /// `None` where namespaces or the static program are not to be had.
    fn start(test: &str, place: Place, steps: &[&str]) -> Option<Self> {
        if !Path::new(BUSYBOX).exists() {
            skipped(test, "no static busybox");
            return None;
        }
        if !available("unshare") {
            skipped(test, "no unshare");
            return None;
        }
        if !place.start(namespace(&place).arg("true")).wait().success() {
            skipped(test, "no namespaces");
            return None;
        }
        let image = place.root().join("image");
        fs::create_dir_all(image.join("proc")).unwrap();
        fs::create_dir_all(image.join("dev/pts")).unwrap();
        fs::copy(HOOP, image.join("hoop")).unwrap();
        fs::copy(BUSYBOX, image.join("busybox")).unwrap();
        std::os::unix::fs::symlink("pts/ptmx", image.join("dev/ptmx")).unwrap();
        let script = format!(
            "set -e; image=$0; {}; exec chroot \"$image\" \"$@\"",
            steps.join("; ")
        );
        let mut command = namespace(&place);
        command.args(["sh", "-c", &script]).arg(&image);
        command.args([
            "/hoop",
            "run",
            "--name",
            "web",
            "--command",
            "/busybox sh",
            "--",
        ]);
        command.args(["/busybox", "sh", "-c", APPLICATION]);
        command
            .env_remove("HOOP_CONFIG")
            .env_remove("HOME")
            .env_remove("XDG_RUNTIME_DIR");
        if let Some(key) = place.key() {
            command.env("HOOP_KEY", key);
        }
        let program = place.start(&mut command);
        program.printed("up");
        Some(Self { program, place })
    }

    /// A task tells that it is inside.
    fn runs_a_task(&self) {
        self.place.reached("web", &self.program);
        let told = self.place.exec(
            "web",
            &["/busybox", "sh", "-c", "pwd; /busybox ls -a; exit 5"],
        );
        assert_eq!(told.status.code(), Some(5), "{}", text(&told.stderr));
        assert_eq!(text(&told.stdout), "/\n.\n..\nbusybox\ndev\nhoop\nproc\n");
    }

    fn opens_a_console(&self) {
        let mut console = self.place.console("web");
        console.expect("$ ");
        console.line("/busybox tty; echo $((6 * 7))");
        console.expect("\n/dev/pts/");
        console.expect("\n42\r\n$ ");
        console.line("exit 3");
        assert_eq!(console.wait(), 3);
    }

    /// The application ends as it wants to, and everything with it.
    fn ends(mut self) {
        let init = self.init();
        hoop::sys::process::signal(init, libc::SIGTERM).unwrap();
        assert_eq!(
            self.program.wait().code(),
            Some(7),
            "{}",
            self.program.log()
        );
    }

    /// PID 1 of the namespace, as we see it.
    fn init(&self) -> Pid {
        eventually("PID 1", || {
            let processes = hoop::sys::tree::all()?;
            let init = processes
                .iter()
                .find(|process| process.parent == self.program.pid())?;
            Some(init.pid)
        })
    }
}

/// `unshare …`, to be followed by what becomes PID 1.
fn namespace(place: &Place) -> Command {
    let mut command = place.program("unshare");
    command.args(["-mpf", "--kill-child"]);
    if !nix::unistd::geteuid().is_root() {
        command.arg("-Ur");
    }
    command
}

#[test]
fn as_a_runtime_starts_it_with_a_root_that_cannot_be_written_to() {
    let steps = [READ_ONLY, PROC, TERMINALS];
    let Some(container) = Container::start("read-only", Place::with_gateway(), &steps) else {
        return;
    };
    container.runs_a_task();
    container.opens_a_console();
    container.ends();
}

#[test]
fn without_proc() {
    let Some(container) = Container::start("without /proc", Place::with_gateway(), &[TERMINALS])
    else {
        return;
    };
    container.runs_a_task();
    container.opens_a_console();
    container.ends();
}

#[test]
fn with_nothing_mounted_a_task_runs_and_a_console_says_what_is_missing() {
    let Some(container) = Container::start("nothing mounted", Place::with_gateway(), &[":"]) else {
        return;
    };
    container.runs_a_task();
    let mut console = container.place.console("web");
    assert_eq!(console.wait(), 125);
    let told = console.fresh();
    assert!(
        told.contains("terminal") && told.contains("No such file"),
        "{told}"
    );
    container.ends();
}

#[test]
fn without_a_gateway_and_a_place_for_a_socket_the_application_runs() {
    let Some(container) = Container::start("no place", Place::local(), &[":"]) else {
        return;
    };
    let told = container.program.logged("no console is served: ");
    assert!(
        told.contains("no folder for a private socket is usable"),
        "{told}"
    );
    container.ends();
}
