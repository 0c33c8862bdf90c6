//! `hoop exec` with a gateway of ours: streamed input, complete output, broken pipes.

use std::io::Write;

use tokio::task::spawn_blocking;
use tonic::Status;

use hoop::client::{ClientError, ExecOptions, exec};
use hoop::protocol::{MAX_PAYLOAD, Packet, PacketType, gob, spec};

use super::fake::{Ends, Fake, Peer, on_pipes};

const OURS: &str = "session-streams,tasks";

fn task(arguments: &[&str]) -> ExecOptions {
    ExecOptions {
        name: Some("demo".to_owned()),
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
        silent: true,
        ..ExecOptions::default()
    }
}

fn accepted(grants: &[&str]) -> Packet {
    let ok = Packet::new(PacketType::ClientSessionOpenOk).with(spec::CLIENT_COMMAND, "cmd");
    grants.iter().fold(ok, |ok, key| ok.with(key, "1"))
}

fn close(code: &'static str) -> Packet {
    Packet::new(PacketType::ClientSessionClose).with(spec::EXIT_CODE, code)
}

/// Runs a task while the test plays the gateway.
async fn run<F: Future<Output = ()>>(
    capabilities: &'static str,
    options: ExecOptions,
    play: impl FnOnce(Peer, Ends) -> F,
) -> Result<i32, ClientError> {
    let mut gateway = Fake::start(capabilities).await;
    let (context, ends) = on_pipes(gateway.address);
    let playing = async {
        let peer = gateway.accept().await;
        play(peer, ends).await;
    };
    let client = async {
        let result = exec(&context, options).await;
        drop(context);
        result
    };
    tokio::join!(client, playing).0
}

#[tokio::test]
async fn input_is_streamed_in_order_and_ends() {
    let data: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let expected = data.clone();
    let code = run(OURS, task(&["wc", "-c"]), |mut peer, mut ends| async move {
        let open = peer.expect(PacketType::AgentSessionOpen).await;
        assert!(open.spec.contains_key(spec::TASK) && open.spec.contains_key(spec::STREAM_STDIN));
        let words = gob::decode_strings(&open.spec[spec::TERMINAL_ARGS]).unwrap();
        assert_eq!(words, ["wc", "-c"]);
        peer.send(accepted(&[spec::TASK, spec::STREAM_STDIN])).await;
        // The program is started before there is any input.
        let first = peer.expect(PacketType::AgentExecWriteStdin).await;
        assert!(first.payload.is_empty());
        let mut stdin = ends.stdin.take().unwrap();
        let writing = spawn_blocking(move || stdin.write_all(&data).unwrap());
        let mut got = Vec::new();
        loop {
            let packet = peer.next().await.unwrap();
            if packet.kind() == Some(PacketType::AgentExecCloseStdin) {
                break;
            }
            assert!(packet.payload.len() <= MAX_PAYLOAD);
            got.extend_from_slice(&packet.payload);
        }
        writing.await.unwrap();
        assert!(got == expected);
        peer.send(close("4")).await;
    })
    .await;
    assert_eq!(code.unwrap(), 4);
}

#[tokio::test]
async fn known_input_goes_out_at_once_and_ends() {
    let options = ExecOptions {
        input: Some("text".to_owned()),
        ..task(&[])
    };
    let code = run(OURS, options, |mut peer, ends| async move {
        let open = peer.expect(PacketType::AgentSessionOpen).await;
        assert!(!open.spec.contains_key(spec::TASK));
        assert_eq!(&*open.payload, b"text");
        peer.send(accepted(&[spec::STREAM_STDIN])).await;
        let input = peer.expect(PacketType::AgentExecWriteStdin).await;
        assert_eq!(&*input.payload, b"text");
        peer.expect(PacketType::AgentExecCloseStdin).await;
        peer.send(close("0")).await;
        ends.read().await;
    })
    .await;
    assert_eq!(code.unwrap(), 0);
}

#[tokio::test]
async fn input_goes_in_one_piece_to_an_agent_that_streams_none() {
    let options = ExecOptions {
        silent: false,
        ..task(&["x"])
    };
    let code = run(OURS, options, |mut peer, mut ends| async move {
        peer.expect(PacketType::AgentSessionOpen).await;
        peer.send(accepted(&[])).await;
        let mut stdin = ends.stdin.take().unwrap();
        let text = "line\n".repeat(10_000);
        let wanted = text.clone();
        let writing = spawn_blocking(move || stdin.write_all(text.as_bytes()).unwrap());
        let input = peer.expect(PacketType::AgentExecWriteStdin).await;
        writing.await.unwrap();
        assert!(input.payload == wanted);
        assert!(input.spec.contains_key(spec::TERMINAL_ARGS));
        peer.send(close("0")).await;
        let (_, stderr) = ends.read().await;
        assert_eq!(
            stderr,
            "hoop: the arguments are appended to the command of the connection: cmd\n"
        );
    })
    .await;
    assert_eq!(code.unwrap(), 0);
}

#[tokio::test]
async fn output_that_is_not_complete_is_a_failure() {
    for (total, code) in [("3", 0), ("4", 255)] {
        let result = run(OURS, task(&["x"]), |mut peer, ends| async move {
            peer.expect(PacketType::AgentSessionOpen).await;
            peer.send(accepted(&[spec::TASK])).await;
            let output = Packet::new(PacketType::ClientWriteStdout).payload("abc");
            peer.send(output).await;
            peer.send(close("0").with(spec::STDOUT_BYTES, total)).await;
            drop(peer);
            ends.read().await;
        })
        .await;
        assert_eq!(result.unwrap(), code, "{total}");
    }
}

#[tokio::test]
async fn a_stream_that_ends_early_is_an_unknown_result() {
    let result = run(OURS, task(&["x"]), |mut peer, ends| async move {
        peer.expect(PacketType::AgentSessionOpen).await;
        peer.send(accepted(&[spec::TASK])).await;
        peer.end(Status::unknown("agent has disconnected")).await;
        let (_, stderr) = ends.read().await;
        assert!(
            stderr.contains("its result is not known: agent has disconnected"),
            "{stderr}"
        );
    })
    .await;
    assert_eq!(result.unwrap(), 255);
}

#[tokio::test]
async fn a_task_that_was_not_started_has_the_code_of_the_reason() {
    let result = run(OURS, task(&["nosuch"]), |mut peer, ends| async move {
        peer.expect(PacketType::AgentSessionOpen).await;
        let close = close("254").with(spec::NOT_STARTED, "127");
        peer.send(close.payload("cannot run 'nosuch'")).await;
        assert_eq!(ends.read().await.1, "hoop: cannot run 'nosuch'\n");
    })
    .await;
    assert_eq!(result.unwrap(), 127);
}

/// The reader of our output goes away: the client leaves as a program that SIGPIPE ends.
#[tokio::test]
async fn a_broken_pipe_ends_the_client() {
    let result = run(OURS, task(&["yes"]), |mut peer, ends| async move {
        peer.expect(PacketType::AgentSessionOpen).await;
        drop(ends);
        peer.send(accepted(&[spec::TASK])).await;
        peer.send(Packet::new(PacketType::ClientWriteStdout).payload("y\n"))
            .await;
        while peer.next().await.is_some() {}
    })
    .await;
    assert_eq!(result.unwrap(), 141);
}

/// A client whose output nobody reads takes no further packets, and still ends when its peer does.
#[tokio::test]
async fn a_slow_reader_slows_the_gateway_and_loses_nothing() {
    const CHUNK: usize = 16 * 1024;
    const CHUNKS: usize = 256;
    let result = run(OURS, task(&["x"]), |mut peer, ends| async move {
        peer.expect(PacketType::AgentSessionOpen).await;
        peer.send(accepted(&[spec::TASK])).await;
        let sending = async {
            for number in 0..CHUNKS {
                let byte = u8::try_from(number % 251).unwrap();
                let output = Packet::new(PacketType::ClientWriteStdout).payload(vec![byte; CHUNK]);
                peer.send(output).await;
            }
            let total = (CHUNK * CHUNKS).to_string();
            peer.send(close("0").with(spec::STDOUT_BYTES, total)).await;
        };
        tokio::pin!(sending);
        // The pipe holds 64 KiB, the stream's window 256 KiB: the sender cannot finish while nobody reads.
        let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut sending);
        assert!(early.await.is_err());
        let reading = spawn_blocking(move || {
            let mut stdout = ends.stdout;
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut stdout, &mut bytes).unwrap();
            bytes
        });
        sending.await;
        let bytes = reading.await.unwrap();
        assert_eq!(bytes.len(), CHUNK * CHUNKS);
        let in_order = |(number, chunk): (usize, &[u8])| {
            chunk.iter().all(|byte| usize::from(*byte) == number % 251)
        };
        assert!(bytes.chunks(CHUNK).enumerate().all(in_order));
    })
    .await;
    assert_eq!(result.unwrap(), 0);
}

#[tokio::test]
async fn an_approval_is_waited_for_and_the_session_asked_for_again() {
    let options = ExecOptions {
        input: Some(String::new()),
        ..task(&["x"])
    };
    let result = run("", options, |mut peer, ends| async move {
        let open = peer.expect(PacketType::AgentSessionOpen).await;
        let waiting = Packet::new(PacketType::ClientSessionOpenWaitingApproval);
        peer.send(waiting.payload("http://gateway/sessions/1"))
            .await;
        peer.send(Packet::new(PacketType::ClientSessionOpenApproveOk))
            .await;
        let again = peer.expect(PacketType::AgentSessionOpen).await;
        assert_eq!(open, again);
        peer.send(accepted(&[])).await;
        peer.expect(PacketType::AgentExecWriteStdin).await;
        peer.send(close("0")).await;
        assert!(ends.read().await.1.contains("http://gateway/sessions/1"));
    })
    .await;
    assert_eq!(result.unwrap(), 0);
}

#[tokio::test]
async fn wrong_usage_and_missing_files_are_told_before_anything_is_asked() {
    let (context, _ends) = on_pipes(([127, 0, 0, 1], 1).into());
    let both = ExecOptions {
        input: Some("x".to_owned()),
        file: Some("/nonexistent".into()),
        ..task(&[])
    };
    assert_eq!(exec(&context, both).await.unwrap_err().exit_code(), 2);
    let file = ExecOptions {
        file: Some("/nonexistent".into()),
        ..task(&[])
    };
    let error = exec(&context, file).await.unwrap_err();
    assert_eq!(error.exit_code(), 125);
    assert!(error.to_string().contains("/nonexistent"));
    let error = exec(&context, task(&["x"])).await.unwrap_err();
    assert_eq!(error.exit_code(), 125);
    assert!(
        error.to_string().contains("cannot connect to 127.0.0.1:1"),
        "{error}"
    );
}
