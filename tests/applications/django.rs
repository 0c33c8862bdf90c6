//! The example project: a web application with a database, its shell as console, its commands as tasks.

use std::path::Path;

use super::{PYTHON, here_and_through_a_gateway};
use crate::process::{eventually, skipped};
use crate::support::hoop::{Place, Program, text};
use crate::support::web::page;

here_and_through_a_gateway!(a_query_and_its_effect, tasks, the_same_surroundings);

/// The project in the application's directory, its server started; `None` without Django.
fn serve(place: &Place, test: &str) -> Option<(Program, u16)> {
    let probe = place.start(place.program(PYTHON).args(["-c", "import django"]));
    let mut probe = probe;
    if !probe.wait().success() {
        skipped(test, &probe.log());
        return None;
    }
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/django");
    let mut copy = place.program("cp");
    copy.arg("-R").arg(project.join(".")).arg(place.directory());
    assert!(place.start(&mut copy).wait().success());
    let console = format!("{PYTHON} manage.py shell");
    // The server takes any free port and says which.
    let server = [
        PYTHON,
        "-u",
        "manage.py",
        "runserver",
        "--noreload",
        "127.0.0.1:0",
    ];
    let mut command = place.application(&["--name", "web", "--command", &console], &server);
    command.env("NOTES_DB", place.root().join("notes.sqlite3"));
    let program = place.start(&mut command);
    place.reached("web", &program);
    let port = eventually("the server's port", || port(&program));
    Some((program, port))
}

/// The port on which the application's process listens.
fn port(program: &Program) -> Option<u16> {
    let processes = hoop::sys::tree::all()?;
    let application = processes
        .iter()
        .find(|process| process.parent == program.pid() && process.pid != program.agent())?;
    crate::support::web::listens(application.pid)
}

fn a_query_and_its_effect(place: &mut Place) {
    let Some((program, port)) = serve(place, "a query and its effect") else {
        return;
    };
    let migrated = place.exec("web", &[PYTHON, "manage.py", "migrate"]);
    assert!(migrated.status.success(), "{}", text(&migrated.stderr));
    assert!(page(port).unwrap().contains("0 notes"));
    let mut console = place.console("web");
    console.expect(">>> ");
    console
        .line("from notes.models import Note; Note.objects.create(text='x'); Note.objects.count()");
    console.expect("\n<Note: Note object (1)>\r\n1\r\n>>> ");
    let answer = page(port).unwrap();
    assert!(answer.contains("1 notes"), "{answer}");
    console.line("exit()");
    assert_eq!(console.wait(), 0);
    program.signal(libc::SIGTERM);
    let mut program = program;
    program.wait();
    assert!(page(port).is_err());
}

fn tasks(place: &mut Place) {
    let Some((_program, _)) = serve(place, "tasks") else {
        return;
    };
    let migrated = place.exec("web", &[PYTHON, "manage.py", "migrate"]);
    assert_eq!(migrated.status.code(), Some(0));
    let told = text(&migrated.stdout);
    assert!(told.contains("Applying notes.0001_initial... OK"), "{told}");
    let again = place.exec("web", &[PYTHON, "manage.py", "migrate"]);
    assert_eq!(again.status.code(), Some(0));
    let told = text(&again.stdout);
    assert!(told.contains("No migrations to apply"), "{told}");
    let failed = place.exec("web", &[PYTHON, "manage.py", "fail", "7"]);
    assert_eq!(failed.status.code(), Some(7));
    let told = (text(&failed.stdout), text(&failed.stderr));
    assert!(told.1.contains("failing as asked"), "{told:?}");
}

fn the_same_surroundings(place: &mut Place) {
    let Some((_program, _)) = serve(place, "the same surroundings") else {
        return;
    };
    let script =
        "import os; print(os.getcwd(), os.environ['NOTES_DB'], os.environ.get('HOOP_KEY'))";
    let expected = format!(
        "{} {} None",
        place.directory().display(),
        place.root().join("notes.sqlite3").display()
    );
    let task = place.exec("web", &[PYTHON, "-c", script]);
    assert_eq!(text(&task.stdout).trim(), expected);
    let mut console = place.console("web");
    console.expect(">>> ");
    console.line(script);
    console.expect(&format!("\n{expected}\r\n>>> "));
}
