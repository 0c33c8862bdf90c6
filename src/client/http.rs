//! A small HTTP/1.1 client for a gateway's API: one request per connection, over TCP, TLS or a private socket.
//!
//! Rules: an exchange takes at most [`DEADLINE`], a body at most [`MAX_BODY`] bytes; redirections are not followed, so the
//! token goes nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;

use crate::key::Secret;
use crate::link::Connector;
use crate::link::identity::VERSION;
use crate::link::tls::TlsSettings;

/// How long an exchange may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(15);

/// Largest body of an answer, in bytes.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// A gateway's HTTP API.
#[derive(Clone)]
pub struct Api {
    connector: Connector,
    /// Value of the `Host` header.
    host: String,
    /// What precedes `/api/…` in a path; no slash at its end.
    prefix: String,
    token: Option<Secret>,
    /// For messages.
    address: String,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The base URL makes no sense.
    #[error("the API address is wrong: expected http://HOST[:PORT] or https://HOST[:PORT]")]
    Address,
    /// The server was not reached or broke off.
    #[error("cannot ask the gateway at {address}: {reason}")]
    Failed {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
}

impl Api {
    /// The API below a URL.
    pub fn at(url: &str, tls: &TlsSettings, token: Option<Secret>) -> Result<Self, HttpError> {
        let uri: Uri = url.parse().map_err(|_| HttpError::Address)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(HttpError::Address),
        };
        let authority = uri.authority().ok_or(HttpError::Address)?;
        if authority.as_str().contains('@') {
            return Err(HttpError::Address);
        }
        let port = authority
            .port_u16()
            .unwrap_or(if is_tls { 443 } else { 80 });
        let address = format!("{}:{port}", authority.host());
        let tls = is_tls
            .then(|| tls.client(&address, &[b"http/1.1"]))
            .transpose()
            .map_err(|error| HttpError::Failed {
                address: address.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self {
            connector: Connector::tcp(&address, tls),
            host: authority.as_str().to_owned(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            token,
            address,
        })
    }

    /// The API on a private socket, where no token is needed.
    pub fn on_socket(path: PathBuf) -> Self {
        Self {
            address: path.display().to_string(),
            connector: Connector::unix(path),
            host: "localhost".to_owned(),
            prefix: String::new(),
            token: None,
        }
    }

    /// Asks for `/api/…`.
    pub async fn get(&self, path: &str) -> Result<Answer, HttpError> {
        self.ask(Method::GET, path, Bytes::new()).await
    }

    /// Sends JSON to `/api/…`.
    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Answer, HttpError> {
        self.ask(Method::POST, path, body.into()).await
    }

    /// Deletes `/api/…`.
    pub async fn delete(&self, path: &str) -> Result<Answer, HttpError> {
        self.ask(Method::DELETE, path, Bytes::new()).await
    }

    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, HttpError> {
        let failed = |reason: String| HttpError::Failed {
            address: self.address.clone(),
            reason,
        };
        let request = self
            .request(method, path, body)
            .map_err(|error| failed(error.to_string()))?;
        match tokio::time::timeout(DEADLINE, self.exchange(request)).await {
            Ok(answer) => answer.map_err(|error| failed(error.to_string())),
            Err(_) => Err(failed("no answer within 15 s".to_owned())),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/api/{path}", self.prefix))
            .header(header::HOST, &self.host)
            .header(header::USER_AGENT, format!("hoopcli/{VERSION}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))?;
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
            if is_api_key(token.expose()) {
                let mut value = HeaderValue::try_from(token.expose())?;
                value.set_sensitive(true);
                request = request.header("api-key", value);
            }
        }
        request.body(Full::new(body))
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TokioIo::new(self.connector.connect().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
            Ok(Answer {
                status: head.status,
                body,
            })
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            // The connection may end before its last bytes are taken out of it.
            _ = &mut connection => exchange.await,
        }
    }
}

/// Whether a token is one of the reference gateway's API keys, which it also wants in a header of its own.
fn is_api_key(token: &str) -> bool {
    let organisation = token.split_once('|').map(|(organisation, _)| organisation);
    token.starts_with("xapi-") || organisation.is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_address_is_http_or_https_and_may_have_a_path() {
        let tls = TlsSettings::default();
        let api = Api::at("http://gateway/base/", &tls, None).unwrap();
        assert_eq!((&*api.address, &*api.prefix), ("gateway:80", "/base"));
        let api = Api::at("http://[::1]:8009", &tls, None).unwrap();
        assert_eq!((&*api.address, &*api.prefix), ("[::1]:8009", ""));
        for wrong in [
            "gateway:8009",
            "ftp://gateway",
            "http://user:canary@gateway",
            "",
            "/x",
        ] {
            let error = Api::at(wrong, &tls, None).err().unwrap();
            assert!(matches!(error, HttpError::Address), "{wrong}");
        }
    }

    #[test]
    fn a_request_carries_the_token_and_for_an_api_key_twice() {
        let key = "0f8fad5b-d9cb-469f-a165-70867728950e|random";
        for (token, twice) in [
            ("hpk_x", false),
            ("xapi-x", true),
            (key, true),
            ("a|b", false),
        ] {
            let secret = Some(Secret::new(token.to_owned()));
            let api = Api::at("http://h:1", &TlsSettings::default(), secret).unwrap();
            let request = api.request(Method::GET, "agents", Bytes::new()).unwrap();
            assert_eq!(request.uri(), "/api/agents");
            assert_eq!(
                request.headers()["authorization"],
                format!("Bearer {token}")
            );
            assert_eq!(request.headers().contains_key("api-key"), twice, "{token}");
        }
    }
}
