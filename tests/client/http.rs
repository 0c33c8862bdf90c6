//! `hoop list` and `hoop admin` against an API that the test plays, over TCP and on private sockets.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use hoop::admin::{self, AdminCommand, Resource};
use hoop::client::{ClientError, ConnectOptions, Context, ListFormat, connect, list};
use hoop::local::{Places, SocketFile};

use super::fake::{Ends, on_pipes, pipes};

/// What was asked: method, path, bearer, body.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

struct Api {
    asked: Asked,
    running: JoinSet<std::io::Result<()>>,
    home: TempDir,
}

const CONNECTIONS: &str = r#"[
    {"name":"tcp-emb","type":"application","agent_id":"2","status":"offline"},
    {"name":"bash","type":"custom","agent_id":"1","status":"online","command":["bash"]},
    {"name":"orphan","type":"custom","agent_id":"3","status":"offline"}]"#;
const AGENTS: &str = r#"[{"id":"1","name":"std","status":"CONNECTED"},{"id":"2","name":"emb","status":"DISCONNECTED"}]"#;

impl Api {
    fn new() -> Self {
        Self {
            asked: Asked::default(),
            running: JoinSet::new(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn router(&self, connections: &'static str) -> Router {
        let asked = self.asked.clone();
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: String| {
            let bearer = headers.get("authorization");
            let bearer = bearer
                .map_or("", |value| value.to_str().unwrap())
                .to_owned();
            asked
                .lock()
                .unwrap()
                .push((format!("{method} {uri}"), bearer, body));
            let answer = match (method.as_str(), uri.path()) {
                ("GET", "/api/connections") => (StatusCode::OK, connections),
                ("GET", "/api/agents") => (StatusCode::OK, AGENTS),
                ("POST", "/api/agents") => (
                    StatusCode::CREATED,
                    r#"{"token":"grpc://a:xagt-k@h:1?mode=embedded"}"#,
                ),
                ("GET", "/api/agents/a%20b%2Fc") => (StatusCode::OK, "{}"),
                ("DELETE", _) => (StatusCode::NO_CONTENT, ""),
                _ => (StatusCode::NOT_FOUND, r#"{"message":"not found"}"#),
            };
            std::future::ready(answer)
        };
        Router::new().fallback(answer)
    }

    async fn on_tcp(&mut self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router(CONNECTIONS);
        self.running
            .spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn on_socket(&mut self, name: &str, connections: &'static str) -> SocketFile {
        let socket = places(self.home.path()).bind(name).unwrap();
        let listener = UnixListener::from_std(socket.listener).unwrap();
        let router = self.router(connections);
        self.running
            .spawn(async move { axum::serve(listener, router).await });
        socket.file
    }

    /// A context whose home is the test's, with the gateway of this file if there is one.
    fn context(&self, configured: Option<SocketAddr>) -> (Context, Ends) {
        let ([stdin, stdout, stderr], ends) = pipes();
        let home = self.home.path().to_owned();
        let file = home.join("config.toml");
        if let Some(address) = configured {
            let text =
                format!("token='t'\napi_url='http://{address}'\ngrpc_url='grpc://127.0.0.1:1'\n");
            std::fs::write(&file, text).unwrap();
        } else {
            std::fs::write(&file, "").unwrap();
        }
        let context = Context::new([stdin, stdout, stderr], move |name| match name {
            "XDG_RUNTIME_DIR" => home.to_str().map(str::to_owned),
            "HOOP_CONFIG" => file.to_str().map(str::to_owned),
            _ => None,
        });
        (context, ends)
    }
}

fn places(home: &Path) -> Places {
    Places::new(&|name| (name == "XDG_RUNTIME_DIR").then(|| home.as_os_str().to_owned()))
}

#[tokio::test]
async fn a_list_joins_this_machine_and_the_gateway() {
    let mut api = Api::new();
    let address = api.on_tcp().await;
    let local = r#"[{"name":"web","type":"custom","status":"online"}]"#;
    let _socket = api.on_socket("web", local);
    let (context, ends) = api.context(Some(address));
    assert_eq!(list(&context, ListFormat::Table).await.unwrap(), 0);
    drop(context);
    let wanted = " NAME     TYPE         AGENT  STATUS  \n\
                  ──────────────────────────────────────\n \
                  bash     custom       std    online  \n \
                  orphan   custom       -      offline \n \
                  tcp-emb  application  emb    offline \n \
                  web      custom       local  online  \n";
    assert_eq!(ends.read().await, (wanted.to_owned(), String::new()));
    let asked = api.asked.lock().unwrap();
    let bearer = |path: &str| {
        let found = asked.iter().filter(|(asked, _, _)| asked == path);
        found
            .map(|(_, bearer, _)| bearer.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(bearer("GET /api/agents"), ["Bearer t"]);
    let mut both = bearer("GET /api/connections");
    both.sort_unstable();
    // The token never goes to a private socket.
    assert_eq!(both, ["", "Bearer t"]);
}

#[tokio::test]
async fn a_list_as_json_is_what_the_api_said_and_the_agent() {
    let mut api = Api::new();
    let _socket = api.on_socket("web", r#"[{"name":"web","extra":{"x":1}}]"#);
    let (context, ends) = api.context(Some(([127, 0, 0, 1], 1).into()));
    // The gateway cannot be reached: what is known is printed, and the failure told.
    let error = list(&context, ListFormat::Json).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(
        error
            .to_string()
            .starts_with("Failed to fetch connections: "),
        "{error}"
    );
    drop(context);
    let (out, _) = ends.read().await;
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    let wanted = serde_json::json!([{"name": "web", "extra": {"x": 1}, "agent": "local"}]);
    assert_eq!(found, wanted);
    assert!(!out.ends_with('\n'));
}

#[tokio::test]
async fn a_console_without_a_name_lists_what_there_is() {
    let mut api = Api::new();
    let _web = api.on_socket("web", r#"[{"name":"web"}]"#);
    let _job = api.on_socket("job", r#"[{"name":"job"}]"#);
    let (context, _ends) = api.context(None);
    let error = connect(&context, ConnectOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert_eq!(
        error.to_string(),
        "missing NAME: which application? here: job, web"
    );
}

async fn run(api: &mut Api, command: AdminCommand) -> (Result<i32, ClientError>, String) {
    let address = api.on_tcp().await;
    let (context, ends) = api.context(Some(address));
    let result = admin::run(&context, command).await;
    drop(context);
    (result, ends.read().await.0)
}

#[tokio::test]
async fn a_key_is_printed_alone() {
    let mut api = Api::new();
    let command = AdminCommand::CreateAgent {
        name: "demo".to_owned(),
        mode: Some("embedded".to_owned()),
    };
    let (result, out) = run(&mut api, command).await;
    assert_eq!(result.unwrap(), 0);
    assert_eq!(out, "grpc://a:xagt-k@h:1?mode=embedded\n");
    let asked = api.asked.lock().unwrap();
    let (path, _, body) = &asked[0];
    assert_eq!(path, "POST /api/agents");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"name": "demo", "mode": "embedded"})
    );
}

#[tokio::test]
async fn an_agent_is_deleted_by_either_spelling() {
    for name in ["a b/c", "agent/a b/c"] {
        let mut api = Api::new();
        let command = AdminCommand::DeleteAgent {
            name: name.to_owned(),
        };
        let (result, out) = run(&mut api, command).await;
        assert_eq!(
            (result.unwrap(), out.as_str()),
            (0, "agent \"a b/c\" deleted\n")
        );
        assert_eq!(
            api.asked.lock().unwrap()[1].0,
            "DELETE /api/agents/a%20b%2Fc"
        );
    }
}

/// A mistyped name must not look like a revoked key.
#[tokio::test]
async fn an_agent_that_is_not_there_is_not_said_to_be_deleted() {
    let mut api = Api::new();
    let command = AdminCommand::DeleteAgent {
        name: "typo".to_owned(),
    };
    let (result, out) = run(&mut api, command).await;
    assert_eq!((result.unwrap_err().exit_code(), out.as_str()), (1, ""));
    assert_eq!(api.asked.lock().unwrap().len(), 1, "nothing was deleted");
}

#[tokio::test]
async fn a_refusal_is_told_with_its_status_and_body() {
    let mut api = Api::new();
    let command = AdminCommand::Get {
        resource: Resource::Sessions,
        json: false,
    };
    let (result, out) = run(&mut api, command).await;
    let error = result.unwrap_err();
    assert_eq!((error.exit_code(), out.as_str()), (1, ""));
    assert_eq!(
        error.to_string(),
        r#"failed performing request, status=404, body={"message":"not found"}"#
    );
}

#[tokio::test]
async fn a_list_as_json_is_the_body_unchanged() {
    let mut api = Api::new();
    let command = AdminCommand::Get {
        resource: Resource::Agents,
        json: true,
    };
    let (result, out) = run(&mut api, command).await;
    assert_eq!((result.unwrap(), out.as_str()), (0, AGENTS));
}

#[tokio::test]
async fn without_a_gateway_the_person_is_told_what_to_do() {
    let (context, _ends) = on_pipes(([127, 0, 0, 1], 1).into());
    let command = AdminCommand::Get {
        resource: Resource::Agents,
        json: false,
    };
    let error = admin::run(&context, command).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
