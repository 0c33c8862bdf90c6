//! `hoop connect` in this process, on a terminal of the test's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use tonic::Status;

use hoop::client::{ClientError, ConnectOptions, connect};
use hoop::protocol::{Packet, PacketType, spec};

use super::fake::{Fake, Peer, on_pipes, on_terminal};

fn options() -> ConnectOptions {
    ConnectOptions {
        name: Some("demo".to_owned()),
        ..ConnectOptions::default()
    }
}

fn ok() -> Packet {
    Packet::new(PacketType::ClientSessionOpenOk).with(spec::CONNECTION_TYPE, "command-line")
}

fn stdout(text: &'static str) -> Packet {
    Packet::new(PacketType::ClientWriteStdout).payload(text)
}

fn close(code: &'static str) -> Packet {
    Packet::new(PacketType::ClientSessionClose).with(spec::EXIT_CODE, code)
}

/// Whether a terminal hands every byte on, unchanged and unechoed.
fn is_raw(modes: &Termios) -> bool {
    !modes
        .local_flags
        .intersects(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG)
}

/// Runs a console whose program wrote `output`, ends it as `end` says, and returns the result and what came to the terminal.
/// The terminal's modes must be as before.
async fn run<F: Future<Output = ()>>(
    output: &'static str,
    end: impl FnOnce(Peer, File) -> F,
) -> (Result<i32, ClientError>, String) {
    let mut gateway = Fake::start("").await;
    let (context, mut screen, terminal) = on_terminal(gateway.address, 30, 100);
    let before = tcgetattr(&terminal).unwrap();
    let playing = async {
        let mut peer = gateway.accept().await;
        peer.expect(PacketType::AgentSessionOpen).await;
        peer.send(ok()).await;
        let size = peer.expect(PacketType::AgentTerminalResizeTty).await;
        assert_eq!(&*size.payload, b"30,100,0,0");
        let primer = peer.expect(PacketType::AgentTerminalWriteStdin).await;
        assert_eq!(&*primer.payload, b"\n");
        assert!(is_raw(&tcgetattr(&terminal).unwrap()));
        peer.send(stdout(output)).await;
        if !output.is_empty() {
            seen(screen.try_clone().unwrap()).await;
        }
        end(peer, screen.try_clone().unwrap()).await;
    };
    let (result, ()) = tokio::join!(connect(&context, options()), playing);
    assert_eq!(tcgetattr(&terminal).unwrap(), before);
    drop((context, terminal));
    (result, everything(&mut screen))
}

/// Waits until something is on the screen.
async fn seen(screen: File) {
    let wait = move || {
        let mut watched = [PollFd::new(screen.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::NONE).unwrap();
    };
    tokio::task::spawn_blocking(wait).await.unwrap();
}

/// What came to a terminal that nobody has open any more.
fn everything(screen: &mut File) -> String {
    let mut bytes = Vec::new();
    // At the end a terminal says EIO, after all it has.
    if let Err(error) = screen.read_to_end(&mut bytes) {
        assert_eq!(error.raw_os_error(), Some(nix::libc::EIO));
    }
    String::from_utf8(bytes).unwrap()
}

const ON: &str = "\x1b[?1049h\x1b[?25l\x1b[?1000h\x1b[?2004htext";
const OFF: &str = "\x1b[?25h\x1b[?1000l\x1b[?2004l\x1b[?1049l";

#[tokio::test]
async fn a_normal_end_gives_the_terminal_back() {
    let (result, screen) = run(ON, |peer, _| async move { peer.send(close("3")).await }).await;
    assert_eq!((result.unwrap(), screen), (3, format!("{ON}{OFF}")));
}

#[tokio::test]
async fn a_program_that_put_everything_back_is_not_corrected() {
    let output = "\x1b[?1049h\x1b[?25l\x1b[?25h\x1b[?1049l";
    let (result, screen) = run(output, |peer, _| async move { peer.send(close("0")).await }).await;
    assert_eq!((result.unwrap(), screen.as_str()), (0, output));
}

#[tokio::test]
async fn a_lost_session_gives_the_terminal_back() {
    let lost = Status::unknown("agent has disconnected");
    let (result, screen) = run(ON, |peer, _| peer.end(lost)).await;
    assert_eq!((result.unwrap(), screen), (255, format!("{ON}{OFF}")));
}

#[tokio::test]
async fn leaving_by_hand_gives_the_terminal_back() {
    let (result, screen) = run(ON, |mut peer, mut keyboard| async move {
        keyboard.write_all(b"a~.\r").unwrap();
        let typed = peer.expect(PacketType::AgentTerminalWriteStdin).await;
        assert_eq!(&*typed.payload, b"a~.\r");
        keyboard.write_all(b"~.").unwrap();
        while peer.next().await.is_some() {}
    })
    .await;
    assert_eq!((result.unwrap(), screen), (255, format!("{ON}{OFF}")));
}

#[tokio::test]
async fn every_byte_is_handed_on_unchanged() {
    let keys: Vec<u8> = (0..=255).filter(|byte| *byte != b'~').collect();
    let wanted = keys.clone();
    let (result, screen) = run(
        "\0\x03\x04\x11\x13\x1a\r\n",
        |mut peer, mut keyboard| async move {
            keyboard.write_all(&keys).unwrap();
            let mut got = Vec::new();
            while got.len() < wanted.len() {
                let typed = peer.expect(PacketType::AgentTerminalWriteStdin).await;
                got.extend_from_slice(&typed.payload);
            }
            assert_eq!(got, wanted);
            peer.send(close("0")).await;
        },
    )
    .await;
    assert_eq!(result.unwrap(), 0);
    assert_eq!(screen, "\0\x03\x04\x11\x13\x1a\r\n");
}

/// The reference client insists on a terminal; ours takes a pipe, adds nothing and stays when it ends.
#[tokio::test]
async fn standard_input_may_be_a_pipe_that_ends() {
    let mut gateway = Fake::start("session-streams,tasks").await;
    let (context, mut ends) = on_pipes(gateway.address);
    let playing = async {
        let mut peer = gateway.accept().await;
        let open = peer.expect(PacketType::AgentSessionOpen).await;
        assert_eq!(open.text(spec::TERM), Some("xterm-test"));
        assert_eq!(open.text(spec::WINDOW_SIZE), Some("24,80,0,0"));
        peer.send(ok().with(spec::CLIENT_COMMAND, "sh -i")).await;
        peer.expect(PacketType::AgentTerminalResizeTty).await;
        peer.expect(PacketType::AgentTerminalWriteStdin).await;
        let mut stdin = ends.stdin.take().unwrap();
        stdin.write_all(b"~.exit\n").unwrap();
        drop(stdin);
        let typed = peer.expect(PacketType::AgentTerminalWriteStdin).await;
        assert_eq!(&*typed.payload, b"~.exit\n");
        peer.send(stdout("bye")).await;
        peer.send(close("5").payload("exit status 5")).await;
        while peer.next().await.is_some() {}
        ends.read().await
    };
    let client = async {
        let result = connect(&context, options()).await;
        drop(context);
        result
    };
    let (result, (out, err)) = tokio::join!(client, playing);
    assert_eq!(result.unwrap(), 5);
    assert_eq!(
        (out.as_str(), err.as_str()),
        ("bye", "sh -i (stdin and tty allocated)\n")
    );
}

#[tokio::test]
async fn a_forward_has_no_console() {
    let mut gateway = Fake::start("").await;
    let (context, _screen, _terminal): (_, _, OwnedFd) = on_terminal(gateway.address, 24, 80);
    let playing = async {
        let mut peer = gateway.accept().await;
        peer.expect(PacketType::AgentSessionOpen).await;
        peer.send(ok().with(spec::CONNECTION_TYPE, "tcp")).await;
        assert!(peer.next().await.is_none());
    };
    let (result, ()) = tokio::join!(connect(&context, options()), playing);
    assert_eq!(result.unwrap_err().exit_code(), 125);
}
