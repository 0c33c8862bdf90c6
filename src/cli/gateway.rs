//! `hoop start gateway`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{FAILED, USAGE, say, variable};
use crate::gateway::{Config, Gateway, GatewayError, Timing};
use crate::sys::Inherited;
use crate::telemetry;

/// Options of `hoop start gateway`.
#[derive(Args)]
pub(super) struct Options {
    /// Where agents and clients connect
    #[arg(
        long,
        env = "HOOP_GATEWAY_GRPC",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8010"
    )]
    grpc: SocketAddr,
    /// Where the HTTP interface listens
    #[arg(
        long,
        env = "HOOP_GATEWAY_HTTP",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8009"
    )]
    http: SocketAddr,
    /// Where the database and the administrator's token are kept; default: $HOME/.hoop/gateway
    #[arg(long, env = "HOOP_GATEWAY_DATA", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How agents and clients reach --grpc from elsewhere; part of every key
    #[arg(long, env = "GRPC_URL", value_name = "URL")]
    grpc_url: Option<String>,
    /// How --http is reached from elsewhere
    #[arg(long, env = "API_URL", value_name = "URL")]
    api_url: Option<String>,
}

/// Runs a gateway until TERM, INT, HUP or QUIT.
pub(super) fn start(options: Options, inherited: &Inherited) -> i32 {
    inherited.set_up_like_std();
    telemetry::init(true, telemetry::Level::Info);
    let Some(data_dir) = options
        .data_dir
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".hoop/gateway")))
    else {
        say("where is the gateway to keep its data? HOME is not set: give --data-dir");
        return USAGE;
    };
    let config = Config {
        data_dir,
        grpc: options.grpc,
        http: options.http,
        grpc_url: options.grpc_url,
        api_url: options.api_url,
        timing: Timing::default(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            say(&format!("the gateway cannot start: {error}"));
            return FAILED;
        }
    };
    let code = match runtime.block_on(serve(config)) {
        Ok(()) => 0,
        Err(error) => {
            say(&format!("{error}{}", advice(&error)));
            FAILED
        }
    };
    runtime.shutdown_background();
    code
}

/// What a person can do about an error.
fn advice(error: &GatewayError) -> &'static str {
    match error {
        GatewayError::Bind { .. } => {
            "; another gateway may be running: choose other addresses with --grpc and --http"
        }
        GatewayError::Data { .. } => "; choose another --data-dir",
        _ => "",
    }
}

async fn serve(config: Config) -> Result<(), GatewayError> {
    let gateway = Gateway::open(config).await?;
    let (file, is_new) = gateway.admin_file();
    say(&format!(
        "gateway listens for agents and clients on {}, for HTTP on {}",
        gateway.grpc_addr(),
        gateway.http_addr()
    ));
    if is_new {
        say(&format!(
            "the administrator's token was written to {}",
            file.display()
        ));
    }
    let stop = CancellationToken::new();
    let mut signals = Vec::new();
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ] {
        match signal(kind) {
            Ok(signal) => signals.push(signal),
            Err(error) => tracing::warn!("a signal cannot be handled: {error}"),
        }
    }
    let asked = async {
        let waits = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(waits).await;
        stop.cancel();
        // The second one ends the process by its default action no more; the drain has a deadline of its own.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        ended = gateway.run(stop.clone()) => ended,
        () = asked => Ok(()),
    }
}
