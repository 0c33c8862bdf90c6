//! The HTTP interface, the data directory, and the gateway inside an agent.

use std::os::unix::fs::PermissionsExt;

use http::{Method, StatusCode};
use serde_json::json;

use crate::support::gateway::{QUICK, TestGateway, config, request};
use hoop::gateway::{Gateway, GatewayError};
use hoop::protocol::spec::meta;

const BAD_NAME: &str = "name: it must contain between 3 and 254 alphanumeric characters, it may include (-), (_) or (.) characters";

#[tokio::test]
async fn credentials_decide_who_gets_what() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    for authorization in [
        None,
        Some("Bearer hpk_wrong".to_owned()),
        Some(format!("bearer {}", gateway.token)),
        Some(format!("Bearer {key}")),
    ] {
        for path in [
            "/api/agents",
            "/api/connections",
            "/api/sessions",
            "/api/userinfo",
            "/api/serverinfo",
        ] {
            let (status, headers, body) = request(
                gateway.http,
                Method::GET,
                path,
                authorization.as_deref(),
                None,
            )
            .await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {authorization:?}");
            assert_eq!(body, json!({ "message": "access denied" }));
            let server = headers[http::header::SERVER].to_str().expect("text");
            assert_eq!(server, concat!("hoopgateway/", env!("CARGO_PKG_VERSION")));
        }
    }
    for (path, key) in [
        ("/api/healthz", "liveness"),
        ("/api/publicserverinfo", "auth_method"),
    ] {
        let (status, _, body) = request(gateway.http, Method::GET, path, None, None).await;
        assert_eq!(status, StatusCode::OK);
        assert!(body[key].is_string(), "{body}");
    }
    let (_, info) = gateway.api(Method::GET, "/api/serverinfo", None).await;
    assert_eq!(info["grpc_url"], format!("grpc://{}", gateway.grpc));
    let (_, user) = gateway.api(Method::GET, "/api/userinfo", None).await;
    assert_eq!(user["groups"], json!(["admin"]));
}

#[tokio::test]
async fn keys_are_made_listed_and_deleted() {
    let gateway = TestGateway::start().await;
    let create = async |body| gateway.api(Method::POST, "/api/agents", Some(body)).await;
    let (status, body) = create(json!({ "name": "demo" })).await;
    assert_eq!(status, StatusCode::CREATED);
    let key = body["token"].as_str().expect("a key");
    assert!(key.starts_with("grpc://demo:xagt-"), "{key}");
    assert!(
        key.ends_with(&format!("@{}?mode=standard", gateway.grpc)),
        "{key}"
    );
    let (status, body) = create(json!({ "name": "demo" })).await;
    assert_eq!(
        (status, &body["message"]),
        (StatusCode::CONFLICT, &json!("resource already exists"))
    );
    let (status, body) = create(json!({ "name": "x", "mode": "teapot" })).await;
    assert_eq!(
        (status, &body["message"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!(BAD_NAME))
    );
    let (status, body) = create(json!({ "name": "tea", "mode": "teapot" })).await;
    let teapot = json!("unknown agent mode \"teapot\"");
    assert_eq!(
        (status, &body["message"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &teapot)
    );
    let (status, body) = create(json!({ "name": 7 })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        body["message"].as_str().expect("text").contains("name"),
        "{body}"
    );
    let (status, _) = create(json!({ "name": "a".repeat(64 * 1024) })).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    let extra = [(meta::HOSTNAME, "host-1"), (meta::PLATFORM, "linux/amd64")];
    let _wire = gateway.agent(key, &extra).await;
    let (_, list) = gateway
        .api(Method::GET, "/api/agents?status=CONNECTED", None)
        .await;
    assert_eq!(list[0]["name"], "demo");
    assert_eq!(list[0]["token"], "");
    assert_eq!(list[0]["hostname"], "host-1");
    assert_eq!(list[0]["metadata"]["platform"], "linux/amd64");
    let (_, list) = gateway
        .api(Method::GET, "/api/agents?status=DISCONNECTED", None)
        .await;
    assert_eq!(list, json!([]));
    let id = gateway.api(Method::GET, "/api/agents/demo", None).await.1["id"].clone();
    let path = format!("/api/agents/{}", id.as_str().expect("an id"));
    for _ in 0..2 {
        assert_eq!(
            gateway.api(Method::DELETE, &path, None).await.0,
            StatusCode::NO_CONTENT
        );
    }
    let (status, body) = gateway.api(Method::GET, &path, None).await;
    assert_eq!(
        (status, &body["message"]),
        (StatusCode::NOT_FOUND, &json!("agent not found"))
    );
}

#[tokio::test]
async fn connections_are_listed_without_their_secrets() {
    let gateway = TestGateway::start().await;
    let key = gateway.key("demo").await;
    gateway.announce(&key, "web").await;
    let (_, agent) = gateway.api(Method::GET, "/api/agents/demo", None).await;
    let body = json!({
        "name": "bash", "type": "custom", "agent_id": agent["id"], "command": ["bash", "-l"],
        "secret": { "envvar:PASS": "c2VjcmV0" },
    });
    let (status, made) = gateway
        .api(Method::POST, "/api/connections", Some(body.clone()))
        .await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (status, again) = gateway
        .api(Method::POST, "/api/connections", Some(body))
        .await;
    let exists = json!("Connection already exists.");
    assert_eq!((status, &again["message"]), (StatusCode::CONFLICT, &exists));
    // An agent cannot take over an administrator's connection.
    assert!(
        gateway
            .announce(&key, "bash")
            .await
            .message
            .contains("choose another name")
    );
    let (_, list) = gateway.api(Method::GET, "/api/connections", None).await;
    assert_eq!(
        (&list[0]["name"], &list[0]["status"]),
        (&json!("bash"), &json!("offline"))
    );
    assert_eq!(list[0]["secret"], json!({ "envvar:PASS": "" }));
    assert_eq!(
        (&list[1]["name"], &list[1]["status"]),
        (&json!("web"), &json!("online"))
    );
    assert_eq!(list[1]["managed_by"], "hoopagent");
    for expected in [StatusCode::NO_CONTENT, StatusCode::NOT_FOUND] {
        assert_eq!(
            gateway
                .api(Method::DELETE, "/api/connections/bash", None)
                .await
                .0,
            expected
        );
    }
}

#[tokio::test]
async fn the_data_directory_is_for_its_owner_only() {
    let parent = tempfile::tempdir().expect("a directory");
    let data = parent.path().join("new/gateway");
    let gateway = Gateway::open(config(&data, QUICK))
        .await
        .expect("a gateway");
    let (file, created) = gateway.admin_file();
    assert!(created);
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&data), 0o700);
    for name in ["gateway.db", "gateway.db-wal", "gateway.lock", "admin.toml"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    let text = std::fs::read_to_string(file).expect("the file");
    let content: toml::Table = text.parse().expect("TOML");
    let url = format!("http://{}", gateway.http_addr());
    assert_eq!(content["api_url"].as_str(), Some(url.as_str()));
    // A second gateway must not share the memory of the first.
    let second = Gateway::open(config(&data, QUICK)).await.err();
    assert!(matches!(second, Some(GatewayError::InUse(_))), "{second:?}");
}

#[tokio::test]
async fn a_lost_token_file_means_a_new_token() {
    let gateway = TestGateway::start().await;
    let old = gateway.token.clone();
    let data = gateway.stop().await;
    std::fs::remove_file(data.path().join("admin.toml")).expect("removed");
    let gateway = TestGateway::on(data, QUICK).await;
    assert_ne!(gateway.token, old);
    let authorization = format!("Bearer {old}");
    let (status, ..) = request(
        gateway.http,
        Method::GET,
        "/api/agents",
        Some(&authorization),
        None,
    )
    .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_start_that_fails_says_what_and_why() {
    let data = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut wrong = config(data.path(), QUICK);
    wrong.http = taken.local_addr().expect("an address");
    let text = Gateway::open(wrong.clone())
        .await
        .err()
        .expect("an error")
        .to_string();
    let expected = format!(
        "cannot listen on {} for HTTP: Address already in use",
        wrong.http
    );
    assert!(text.starts_with(&expected), "{text}");
    let file = data.path().join("file");
    std::fs::write(&file, "").expect("written");
    let text = Gateway::open(config(&file.join("data"), QUICK))
        .await
        .err()
        .expect("an error");
    assert!(
        text.to_string().contains("create the data directory"),
        "{text}"
    );
    let mut wrong = config(data.path(), QUICK);
    wrong.grpc_url = Some("gateway:8010".to_owned());
    let text = Gateway::open(wrong)
        .await
        .err()
        .expect("an error")
        .to_string();
    assert!(text.contains("\"gateway:8010\" is not a URL"), "{text}");
}
