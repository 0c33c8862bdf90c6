//! Keys of a packet's spec, and of a call's metadata. Values are text unless said otherwise.

/// Session that a packet belongs to; the gateway sets it on every packet of a client.
pub const SESSION_ID: &str = "gateway.session_id";
/// Resolved connection type, such as `command-line`.
pub const CONNECTION_TYPE: &str = "gateway.connection_type";
/// Gob of the connection parameters, gateway to agent.
pub const CONNECTION_PARAMS: &str = "agent.connection_params";
/// The agent's version, added by the gateway to `ClientSessionOpenOK`.
pub const AGENT_VERSION: &str = "agent.version";
/// Exit code of a session, ASCII decimal, may be negative.
pub const EXIT_CODE: &str = "client.exit_code";
/// The port that a proxy-manager client asked for; echoed, may be empty.
pub const REQUEST_PORT: &str = "client.request_port";
/// Command of the connection and the client's arguments, joined by one space.
pub const CLIENT_COMMAND: &str = "client.command";
/// Gob of a list of strings: arguments that the client adds.
pub const TERMINAL_ARGS: &str = "terminal.args";
/// Gob of a map of strings: variables that the client sets, keys `envvar:NAME`, values base64.
pub const TERMINAL_ENVVARS: &str = "terminal.envvars";
/// Ours (capability `tasks`): in an open packet, `terminal.args` are the whole command. A client asks with it; the gateway
/// takes it out unless it grants it; the agent echoes it in `ClientSessionOpenOK`.
pub const TASK: &str = "hoop.task";
/// Ours: in a client's open packet for a task, standard input follows in many packets and ends with
/// `AgentExecCloseStdin`; echoed by an agent that agrees.
pub const STREAM_STDIN: &str = "hoop.stream_stdin";
/// Ours: in an open packet, the client's terminal size as `rows,cols,x,y`, known before the program starts.
pub const WINDOW_SIZE: &str = "hoop.window_size";
/// Ours: in an open packet, the client's `TERM`.
pub const TERM: &str = "hoop.term";
/// Ours: in a close packet, the program was never started; the value is the exit code to show (125, 126, 127).
pub const NOT_STARTED: &str = "hoop.not_started";
/// Ours: in a close packet, bytes of standard output that the session sent, ASCII decimal.
pub const STDOUT_BYTES: &str = "hoop.stdout_bytes";
/// Ours: in a close packet, bytes of standard error that the session sent, ASCII decimal.
pub const STDERR_BYTES: &str = "hoop.stderr_bytes";

/// Metadata keys.
pub mod meta {
    /// `Bearer <token>`.
    pub const AUTHORIZATION: &str = "authorization";
    /// Who calls: `agent`, `client`, ….
    pub const ORIGIN: &str = "origin";
    /// What a client wants: `connect` or `exec`.
    pub const VERB: &str = "verb";
    /// Name or id of a connection.
    pub const CONNECTION_NAME: &str = "connection-name";
    /// Ours (capability `session-streams`): the session that an agent's extra stream carries.
    pub const SESSION_ID: &str = "session-id";
    /// Ours: comma-separated capabilities, in requests and in the response metadata of unary calls.
    pub const CAPABILITIES: &str = "hoop-capabilities";
    /// Release of the caller.
    pub const VERSION: &str = "version";
    /// Host name of the caller.
    pub const HOSTNAME: &str = "hostname";
    /// `linux/amd64` and the like.
    pub const PLATFORM: &str = "platform";
    /// What `uname -a` says.
    pub const KERNEL_VERSION: &str = "kernel-version";
    /// The machine's product UUID, or empty.
    pub const MACHINE_ID: &str = "machine-id";
}
