//! A spinner on standard error, for people who wait.

use std::time::Duration;

use indicatif::ProgressBar;

use super::Context;

/// Time between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// What a person is told while a session is being opened. Nothing is left on the screen when this is dropped.
pub(super) struct Progress<'a> {
    context: &'a Context,
    spinner: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    /// Starts to spin if people read standard error and want it.
    pub(super) fn start(context: &'a Context, silent: bool) -> Self {
        let spinner = (context.is_watched() && !silent).then(|| {
            let spinner = ProgressBar::new_spinner().with_message("connecting to gateway...");
            spinner.enable_steady_tick(TICK);
            spinner
        });
        Self { context, spinner }
    }

    /// Says one line, which stays.
    pub(super) fn say(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| self.context.say(text)),
            None => self.context.say(text),
        }
    }

    /// Stops spinning.
    pub(super) fn stop(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}
