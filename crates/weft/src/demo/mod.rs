//! demo
pub(crate) fn run(_args: &crate::cli::DemoArgs) -> anyhow::Result<()> {
    Ok(())
}
