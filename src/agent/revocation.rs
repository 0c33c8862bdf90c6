//! Notices that our key was revoked, towards a gateway that does not tell: the reference gateway leaves a deleted key's
//! stream alive (fact sheet 4.5), but answers `PreConnect` with `Unauthenticated` at once.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::link::Link;
use crate::protocol::rpc::PreConnectRequest;

/// How often to ask while a session is open: sessions of a revoked key end within 2 s.
const WITH_SESSIONS: Duration = Duration::from_millis(500);
/// How often to ask while none is.
const WITHOUT: Duration = Duration::from_secs(5);

/// Returns when the key is refused; never towards a gateway with our capabilities, which ends the streams itself.
pub(super) async fn watch(
    mut link: Link,
    request: PreConnectRequest,
    mut sessions: watch::Receiver<u32>,
) {
    if link.capabilities().any() {
        return std::future::pending().await;
    }
    let mut asked = Instant::now();
    loop {
        let wait = if *sessions.borrow_and_update() > 0 {
            WITH_SESSIONS
        } else {
            WITHOUT
        };
        tokio::select! {
            // Counted from the last answer, so that sessions that come and go do not put the question off.
            () = sleep_until(asked + wait) => {}
            // The first session must not wait for the slow tick.
            changed = sessions.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return std::future::pending().await,
            },
        }
        match link.pre_connect(request.clone()).await {
            Err(error) if error.is_unauthenticated() => return,
            // Anything else is the stream's business to find out.
            Ok(_) | Err(_) => {}
        }
        asked = Instant::now();
    }
}
