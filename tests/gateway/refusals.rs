//! Who is not let in, and with which status.

use http::Method;
use serde_json::json;
use tonic::Code;

use crate::support::gateway::{QUICK, TestGateway};
use hoop::protocol::rpc::PreConnectRequest;
use hoop::protocol::spec::meta;
use hoop::protocol::{Packet, PacketType};

/// Opens a stream that is refused; the code and the text.
async fn refused(gateway: &TestGateway, metadata: &[(&'static str, &str)]) -> (Code, String) {
    let status = gateway.caller().open(metadata).await.err();
    let status = status.expect("a refusal");
    (status.code(), status.message().to_owned())
}

fn is(code: Code, text: &str) -> (Code, String) {
    (code, text.to_owned())
}

#[tokio::test]
async fn each_refusal_has_the_status_of_the_reference() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let (user, agent) = (format!("Bearer {}", gateway.token), format!("Bearer {key}"));
    let client = |verb: Option<&'static str>, name: Option<&'static str>| {
        let mut metadata = vec![
            (meta::AUTHORIZATION, user.as_str()),
            (meta::ORIGIN, "client"),
        ];
        metadata.extend(verb.map(|verb| (meta::VERB, verb)));
        metadata.extend(name.map(|name| (meta::CONNECTION_NAME, name)));
        metadata
    };
    let table = [
        (
            vec![(meta::AUTHORIZATION, user.as_str())],
            is(Code::InvalidArgument, "missing client origin"),
        ),
        (
            vec![
                (meta::AUTHORIZATION, user.as_str()),
                (meta::ORIGIN, "robot"),
            ],
            is(Code::InvalidArgument, "unknown origin \"robot\""),
        ),
        (
            client(None, Some("web")),
            is(Code::InvalidArgument, "missing client verb"),
        ),
        (
            client(Some("dance"), Some("web")),
            is(Code::InvalidArgument, "unknown verb \"dance\""),
        ),
        (
            client(Some("exec"), Some("nothing")),
            is(Code::NotFound, "connection not found"),
        ),
        (
            client(Some("exec"), None),
            is(Code::NotFound, "connection not found"),
        ),
        (
            client(Some("exec"), Some("web")),
            is(Code::FailedPrecondition, "agent is offline"),
        ),
        (
            vec![
                (meta::ORIGIN, "client"),
                (meta::VERB, "exec"),
                (meta::CONNECTION_NAME, "web"),
            ],
            is(Code::Unauthenticated, "invalid authentication"),
        ),
        (
            vec![(meta::ORIGIN, "agent")],
            is(Code::Unauthenticated, "invalid authentication"),
        ),
        // Neither kind of credentials does for the other.
        (
            vec![
                (meta::AUTHORIZATION, user.as_str()),
                (meta::ORIGIN, "agent"),
            ],
            is(Code::Unauthenticated, "invalid authentication"),
        ),
        (
            vec![
                (meta::AUTHORIZATION, agent.as_str()),
                (meta::ORIGIN, "client"),
                (meta::VERB, "exec"),
            ],
            is(Code::Unauthenticated, "invalid authentication"),
        ),
        (
            vec![
                (meta::AUTHORIZATION, agent.as_str()),
                (meta::ORIGIN, "agent"),
                (meta::CONNECTION_NAME, "db"),
            ],
            is(Code::NotFound, "connection db was not announced"),
        ),
        (
            vec![
                (meta::AUTHORIZATION, agent.as_str()),
                (meta::ORIGIN, "agent"),
                (meta::SESSION_ID, "x"),
            ],
            is(Code::NotFound, "session not found"),
        ),
    ];
    for (metadata, expected) in table {
        assert_eq!(refused(&gateway, &metadata).await, expected, "{metadata:?}");
    }
}

#[tokio::test]
async fn the_form_of_the_bearer_is_checked_to_the_letter() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    let other = key.replace("//demo:", "//other:");
    let secret = key
        .split(':')
        .nth(2)
        .and_then(|rest| rest.split('@').next());
    let wrong = key.replace(secret.expect("a secret"), "xagt-wrong");
    let invalid = "invalid authentication";
    for (authorization, text) in [
        (format!("bearer {key}"), invalid),
        (format!("Bearer  {key}"), invalid),
        (format!("Bearer {key} "), invalid),
        (key.clone(), invalid),
        ("Bearer ".to_owned(), invalid),
        ("Bearer x-agt-1".to_owned(), invalid),
        (format!("Bearer {wrong}"), invalid),
        (
            format!("Bearer {other}"),
            "invalid authentication, mismatch dsn attributes",
        ),
    ] {
        let metadata = [
            (meta::AUTHORIZATION, authorization.as_str()),
            (meta::ORIGIN, "agent"),
        ];
        let expected = is(Code::Unauthenticated, text);
        assert_eq!(
            refused(&gateway, &metadata).await,
            expected,
            "{authorization}"
        );
    }
    gateway.agent(&key, &[]).await;
}

#[tokio::test]
async fn a_second_live_stream_is_refused_and_the_first_lives_on() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    gateway.announce(&key, "db").await;
    let bare = gateway.agent(&key, &[]).await;
    let named = gateway.agent(&key, &[(meta::CONNECTION_NAME, "web")]).await;
    let other = gateway.agent(&key, &[(meta::CONNECTION_NAME, "db")]).await;
    for extra in [&[][..], &[(meta::CONNECTION_NAME, "web")]] {
        let status = gateway.caller().agent(&key, extra).await.err();
        let status = status.expect("a refusal");
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.message(), "agent already connected");
    }
    for wire in [&bare, &named, &other] {
        assert!(!wire.out.is_closed());
    }
    // Once it left, its place is free.
    drop(bare);
    loop {
        match gateway.caller().agent(&key, &[]).await {
            Ok(_) => break,
            Err(status) => assert_eq!(status.message(), "agent already connected"),
        }
    }
}

#[tokio::test]
async fn a_name_of_another_agent_is_refused_and_counts_for_nothing() {
    let gateway = TestGateway::start().await;
    let (one, two) = (gateway.key("one").await, gateway.key("two").await);
    assert_eq!(gateway.announce(&one, "web").await.message, "");
    let answer = gateway.announce(&two, "web").await;
    assert_eq!(answer.status, "BACKOFF");
    assert_eq!(
        answer.message,
        "connection web is not being managed by this process, choose another name"
    );
    let extra = [(meta::CONNECTION_NAME, "web")];
    let status = gateway.caller().agent(&two, &extra).await.err();
    let status = status.expect("a refusal");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "connection web is not managed by agent two"
    );
    let (_, agent) = gateway.api(Method::GET, "/api/agents/two", None).await;
    assert_eq!(agent["status"], "DISCONNECTED");
    let (_, web) = gateway.api(Method::GET, "/api/connections/web", None).await;
    assert_eq!(web["status"], "online");
}

#[tokio::test]
async fn announcements_are_limited_at_the_limit_and_one_past() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    let announce = |name: String, kind: &str, command: String| {
        let request = PreConnectRequest {
            name,
            r#type: kind.to_owned(),
            command: vec![command],
            ..PreConnectRequest::default()
        };
        let (caller, key) = (gateway.caller(), key.clone());
        async move {
            let answer = caller.pre_connect(&key, request).await;
            answer.expect("an answer").into_inner().message
        }
    };
    assert_eq!(announce("n".repeat(252), "custom", String::new()).await, "");
    assert!(
        announce("n".repeat(253), "custom", String::new())
            .await
            .contains("252 bytes")
    );
    assert!(
        announce("a\nb".to_owned(), "custom", String::new())
            .await
            .contains("control")
    );
    assert!(
        announce("web".to_owned(), "teapot", String::new())
            .await
            .contains("teapot")
    );
    // Name, type and the field headers take 17 bytes.
    let room = 64 * 1024 - 17;
    assert_eq!(
        announce("web".to_owned(), "custom", "c".repeat(room)).await,
        ""
    );
    assert!(
        announce("web".to_owned(), "custom", "c".repeat(room + 1))
            .await
            .contains("65536")
    );
}

#[tokio::test]
async fn a_task_on_a_forward_is_refused() {
    let gateway = TestGateway::start().await;
    gateway.key("demo").await;
    let (_, agent) = gateway.api(Method::GET, "/api/agents/demo", None).await;
    let body = json!({ "name": "tcp-1", "type": "application", "subtype": "tcp", "agent_id": agent["id"] });
    gateway
        .api(Method::POST, "/api/connections", Some(body))
        .await;
    let status = gateway.client("exec", "tcp-1", &[]).await.err();
    let status = status.expect("a refusal");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "exec is not allowed for tcp type connections. Use 'hoop connect <name>' instead"
    );
}

#[tokio::test]
async fn a_client_that_does_not_open_its_session_is_refused() {
    let gateway = TestGateway::with(QUICK).await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let _agent = gateway.agent(&key, &[]).await;
    let mut client = gateway
        .quiet_client("exec", "web", &[])
        .await
        .expect("accepted");
    let status = client.status().await.expect_err("a refusal");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(gateway.finished_session().await["cause"], status.message());
}

#[tokio::test]
async fn a_session_begins_with_its_opening_and_nothing_else() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let _agent = gateway.agent(&key, &[]).await;
    let client = gateway.quiet_client("exec", "web", &[]).await;
    let mut client = client.expect("accepted");
    client
        .send(Packet::new(PacketType::AgentExecWriteStdin))
        .await;
    let status = client.status().await.expect_err("a refusal");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(
        status.message(),
        "a session begins with AgentSessionOpen, not AgentExecWriteStdin"
    );
}
