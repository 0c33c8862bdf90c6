//! Interpreters as consoles: what is typed is answered, keys do what they do in a terminal, the exit code comes back.

use super::{PYTHON, here_and_through_a_gateway};
use crate::process::{available, skipped};
use crate::support::hoop::Place;

const SLEEP: &[&str] = &["sleep", "1000"];

here_and_through_a_gateway!(python, node, shell);

fn python(place: &mut Place) {
    if !available(PYTHON) {
        return skipped("python", "no python3");
    }
    let _application = place.serve("web", &["--command", &format!("{PYTHON} -i")], SLEEP);
    let mut console = place.console("web");
    console.expect(">>> ");
    console.line("6 * 7");
    console.expect("\n42\r\n>>> ");
    console.line("import time; print('as' + 'leep'); time.sleep(1000)");
    console.expect("asleep");
    console.press("\x03");
    console.expect("KeyboardInterrupt\r\n>>> ");
    console.line("exit(3)");
    assert_eq!(console.wait(), 3);
    let mut console = place.console("web");
    console.expect(">>> ");
    console.press("\x04");
    assert_eq!(console.wait(), 0);
}

fn node(place: &mut Place) {
    if !available("node") {
        return skipped("node", "no node");
    }
    let _application = place.serve("web", &["--command", "node -i"], SLEEP);
    let mut console = place.console("web");
    console.expect("> ");
    console.line("6 * 7");
    console.expect("42");
    console.expect("> ");
    // An interrupted loop would be more, but Node itself loses a Ctrl-C that comes as the loop begins.
    console.press("nonsense(");
    console.expect("nonsense(");
    console.press("\x03");
    console.expect("> ");
    console.line("6 * 8");
    console.expect("48");
    console.expect("> ");
    console.line("process.exit(3)");
    assert_eq!(console.wait(), 3);
    let mut console = place.console("web");
    console.expect("> ");
    console.press("\x04");
    assert_eq!(console.wait(), 0);
}

fn shell(place: &mut Place) {
    let _application = place.serve("web", &["--command", "sh"], SLEEP);
    let mut console = place.console("web");
    console.expect("$ ");
    console.line("echo $((6 * 7))");
    console.expect("\n42\r\n");
    console.line("echo as''leep; sleep 1000; echo not reached");
    console.expect("asleep\r\n");
    console.press("\x03");
    console.expect("$ ");
    console.line("echo status $?");
    console.expect("status 130");
    console.line("(exit 3)");
    console.press("\x04");
    assert_eq!(console.wait(), 3);
}
