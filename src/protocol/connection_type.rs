//! What a connection is spoken to as, resolved from the type and subtype that it is stored with.

/// Runs a command: consoles and tasks.
pub const COMMAND_LINE: &str = "command-line";
/// Raw TCP.
pub const TCP: &str = "tcp";
const SSH: &str = "ssh";
const HTTP_PROXY: &str = "httpproxy";
const MCP_PROXY: &str = "mcpproxy";
const KUBERNETES: &str = "kubernetes";

/// The resolved type, as it stands in `gateway.connection_type`. A pair that the table does not have is its type.
pub fn resolve(kind: &str, subtype: &str) -> String {
    let resolved = match (kind, subtype) {
        ("custom", "dynamodb" | "cloudwatch" | "rdp" | "aws-ssm" | MCP_PROXY) => subtype,
        ("custom", "kubernetes" | "kubernetes-eks") => KUBERNETES,
        ("custom", "httpproxy" | "kubernetes-token")
        | ("application", "httpproxy" | "kibana" | "grafana") => HTTP_PROXY,
        ("application", TCP) => TCP,
        ("application", "ssh" | "ssh-local" | "git" | "github") => SSH,
        ("application" | HTTP_PROXY, MCP_PROXY) => MCP_PROXY,
        ("custom" | "application", _) => COMMAND_LINE,
        ("database", "postgres" | "mysql" | "mongodb" | "mssql" | "oracledb") => subtype,
        _ => kind,
    };
    resolved.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_reference_gateway() {
        let table = [
            ("custom", "", "command-line"),
            ("custom", "tcp", "command-line"),
            ("custom", "dynamodb", "dynamodb"),
            ("custom", "cloudwatch", "cloudwatch"),
            ("custom", "rdp", "rdp"),
            ("custom", "aws-ssm", "aws-ssm"),
            ("custom", "mcpproxy", "mcpproxy"),
            ("custom", "kubernetes", "kubernetes"),
            ("custom", "kubernetes-eks", "kubernetes"),
            ("custom", "httpproxy", "httpproxy"),
            ("custom", "kubernetes-token", "httpproxy"),
            ("application", "tcp", "tcp"),
            ("application", "ssh", "ssh"),
            ("application", "ssh-local", "ssh"),
            ("application", "git", "ssh"),
            ("application", "github", "ssh"),
            ("application", "httpproxy", "httpproxy"),
            ("application", "kibana", "httpproxy"),
            ("application", "grafana", "httpproxy"),
            ("application", "mcpproxy", "mcpproxy"),
            ("application", "", "command-line"),
            ("application", "rails", "command-line"),
            ("httpproxy", "mcpproxy", "mcpproxy"),
            ("httpproxy", "", "httpproxy"),
            ("httpproxy", "grafana", "httpproxy"),
            ("database", "postgres", "postgres"),
            ("database", "mysql", "mysql"),
            ("database", "mongodb", "mongodb"),
            ("database", "mssql", "mssql"),
            ("database", "oracledb", "oracledb"),
            ("database", "", "database"),
            ("database", "sqlite", "database"),
            ("command-line", "", "command-line"),
            ("tcp", "ssh", "tcp"),
            ("", "", ""),
        ];
        for (kind, subtype, resolved) in table {
            assert_eq!(resolve(kind, subtype), resolved, "{kind}/{subtype}");
        }
    }
}
