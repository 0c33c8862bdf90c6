//! Who we are on the wire: the metadata that every call carries.

use std::sync::Arc;

use tonic::Status;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

use crate::key::Secret;
use crate::protocol::Capabilities;
use crate::protocol::spec::meta;

/// Our release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A caller's credentials and description.
#[derive(Clone)]
pub struct Identity {
    /// `agent` or `client`, also in the user agent: `hoopagent/…`, `hoopcli/…`.
    origin: &'static str,
    token: Option<Arc<Secret>>,
}

impl Identity {
    /// An agent with its key.
    pub fn agent(token: Secret) -> Self {
        Self {
            origin: "agent",
            token: Some(Arc::new(token)),
        }
    }

    /// A client with a user's token; none on a private socket, where the peer's uid counts.
    pub fn client(token: Option<Secret>) -> Self {
        Self {
            origin: "client",
            token: token.map(Arc::new),
        }
    }

    /// The product token of the user agent.
    pub fn user_agent(&self) -> String {
        let product = if self.origin == "agent" {
            "hoopagent"
        } else {
            "hoopcli"
        };
        format!("{product}/{VERSION}")
    }

    /// Adds the metadata of a call.
    ///
    /// The kernel-version is what `uname -a` would print; no program is run for it.
    pub(super) fn write(&self, map: &mut MetadataMap) -> Result<(), Status> {
        if let Some(token) = &self.token {
            let mut bearer = value(&format!("Bearer {}", token.expose()))?;
            bearer.set_sensitive(true);
            map.insert(meta::AUTHORIZATION, bearer);
        }
        map.insert(meta::ORIGIN, value(self.origin)?);
        map.insert(meta::CAPABILITIES, value(&Capabilities::OURS.to_text())?);
        map.insert(meta::VERSION, value(VERSION)?);
        map.insert(meta::PLATFORM, value(&platform())?);
        map.insert(meta::HOSTNAME, value(&hostname())?);
        map.insert(meta::KERNEL_VERSION, value(&kernel_version())?);
        map.insert(meta::MACHINE_ID, value(&machine_id())?);
        Ok(())
    }
}

/// A metadata value; what is not visible ASCII becomes `?`, except that a token is never altered silently by this
/// because tokens are checked when they are read.
pub(super) fn value(text: &str) -> Result<MetadataValue<Ascii>, Status> {
    let clean: String = text
        .chars()
        .map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .collect();
    MetadataValue::try_from(clean)
        .map_err(|_| Status::invalid_argument("a value does not fit into metadata"))
}

/// Operating system and machine in Go's words, such as `linux/amd64`.
pub fn platform() -> String {
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("{}/{machine}", std::env::consts::OS)
}

/// The host's name from the kernel, empty if it cannot be told.
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default()
}

fn kernel_version() -> String {
    let Ok(name) = nix::sys::utsname::uname() else {
        return String::new();
    };
    [
        name.sysname(),
        name.nodename(),
        name.release(),
        name.version(),
        name.machine(),
    ]
    .map(|part| part.to_string_lossy().into_owned())
    .join(" ")
}

fn machine_id() -> String {
    std::fs::read_to_string("/sys/class/dmi/id/product_uuid")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
