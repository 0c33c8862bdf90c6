//! Compiles `transport.proto` with a compiler written in Rust, so that no `protoc` is needed.

#[cfg_attr(
    not(feature = "wire"),
    expect(
        clippy::unnecessary_wraps,
        reason = "without the wire nothing can fail"
    )
)]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/transport.proto");
    #[cfg(feature = "wire")]
    {
        let files = protox::compile(["transport.proto"], ["proto"])?;
        tonic_prost_build::configure()
            // An rpc named `Connect` would collide with the generated constructor `connect`.
            .build_transport(false)
            .bytes(".")
            .compile_fds(files)?;
    }
    Ok(())
}
