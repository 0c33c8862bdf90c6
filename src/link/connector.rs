//! How bytes reach a gateway: TCP with or without TLS, a Unix socket, or a pipe in memory.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::tls::Tls;

/// How long sent bytes may stay unacknowledged before the kernel gives the connection up, in milliseconds.
const TCP_USER_TIMEOUT: u32 = 15_000;

/// How long one address of a host may take to answer before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);

/// A byte stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>>;

/// Makes byte streams to one gateway. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    connect: Arc<dyn Fn() -> Connecting + Send + Sync>,
    tls: bool,
}

impl Connector {
    /// A connector from any function.
    pub fn new<F, S>(connect: F) -> Self
    where
        F: Fn() -> S + Send + Sync + 'static,
        S: Future<Output = io::Result<Box<dyn Io>>> + Send + 'static,
    {
        Self {
            connect: Arc::new(move || Box::pin(connect())),
            tls: false,
        }
    }

    /// TCP to `host:port` (IPv6 in brackets); every address of the host is tried in turn.
    pub fn tcp(address: &str, tls: Option<Tls>) -> Self {
        let address = address.to_owned();
        let is_tls = tls.is_some();
        let connector = Self::new(move || {
            let (address, tls) = (address.clone(), tls.clone());
            async move {
                let stream = connect_tcp(&address).await?;
                match tls {
                    None => Ok(Box::new(stream) as Box<dyn Io>),
                    Some(tls) => {
                        Ok(Box::new(tls.handshake(stream).await.map_err(no_tls)?) as Box<dyn Io>)
                    }
                }
            }
        });
        Self {
            tls: is_tls,
            ..connector
        }
    }

    /// A Unix socket, whose server must run as us or as root.
    pub fn unix(path: PathBuf) -> Self {
        Self::new(move || {
            let path = path.clone();
            async move {
                let stream = UnixStream::connect(&path).await?;
                let uid = stream.peer_cred()?.uid();
                if uid != nix::unistd::geteuid().as_raw() && uid != 0 {
                    return Err(io::Error::other(format!(
                        "{} belongs to another user ({uid})",
                        path.display()
                    )));
                }
                Ok(Box::new(stream) as Box<dyn Io>)
            }
        })
    }

    /// Whether the streams are encrypted by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// Makes one stream.
    pub fn connect(&self) -> impl Future<Output = io::Result<Box<dyn Io>>> + Send + use<> {
        (self.connect)()
    }
}

/// What a failed handshake most often means, beside what it was.
fn no_tls(error: io::Error) -> io::Error {
    let advice = "a gateway that speaks plain text is reached by a grpc:// address";
    io::Error::new(error.kind(), format!("no TLS: {error} ({advice})"))
}

/// Splits `host:port`; brackets around an IPv6 address are taken off.
pub(super) fn split_address(address: &str) -> io::Result<(&str, u16)> {
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("'{address}' is not HOST:PORT"),
        )
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port = port.parse().map_err(|_| wrong())?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    if host.is_empty() {
        Err(wrong())
    } else {
        Ok((host, port))
    }
}

/// Whether `host:port` is this machine, by name or address.
pub fn is_loopback(address: &str) -> bool {
    split_address(address).is_ok_and(|(host, _)| {
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    })
}

async fn connect_tcp(address: &str) -> io::Result<TcpStream> {
    let (host, port) = split_address(address)?;
    let mut last = io::Error::new(
        io::ErrorKind::NotFound,
        format!("host '{host}' has no address"),
    );
    for ip in resolve(host).await? {
        let attempt = tokio::time::timeout(
            ADDRESS_TIMEOUT,
            TcpStream::connect(SocketAddr::new(ip, port)),
        );
        match attempt.await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                // Refused by some sandboxes; the keep-alive packets find a dead peer too.
                if let Err(error) = nix::sys::socket::setsockopt(
                    &stream,
                    nix::sys::socket::sockopt::TcpUserTimeout,
                    &TCP_USER_TIMEOUT,
                ) {
                    tracing::debug!("TCP_USER_TIMEOUT is not set: {error}");
                }
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => {
                last = io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("{ip} did not answer within 4 s"),
                );
            }
        }
    }
    Err(last)
}

/// A host's addresses. Not by `getaddrinfo`: in a static binary it would load the host's own NSS modules.
async fn resolve(host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(ip) = host.parse() {
        return Ok(vec![ip]);
    }
    // An image without /etc/hosts still knows itself.
    if host == "localhost" {
        return Ok(vec![
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ]);
    }
    let failed = |error: &dyn std::fmt::Display| {
        io::Error::other(format!("cannot resolve '{host}': {error}"))
    };
    let resolver = TokioResolver::builder_tokio()
        .and_then(hickory_resolver::ResolverBuilder::build)
        .map_err(|error| failed(&error))?;
    let found = resolver
        .lookup_ip(host)
        .await
        .map_err(|error| failed(&error))?;
    Ok(found.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_at_its_last_colon() {
        assert_eq!(split_address("gateway:8010").ok(), Some(("gateway", 8010)));
        assert_eq!(split_address("[::1]:8010").ok(), Some(("::1", 8010)));
        for wrong in ["gateway", "gateway:", ":8010", "gateway:99999", ""] {
            assert!(split_address(wrong).is_err(), "{wrong}");
        }
    }
}
