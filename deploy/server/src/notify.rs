//! The service manager is told when the server is ready, reloads and stops (`Type=notify` of systemd).
//!
//! Without `NOTIFY_SOCKET` in the environment nothing is sent, and nothing depends on what becomes of a message.

use sd_notify::NotifyState;

/// Requests are answered. A line break in the status would begin another state.
pub(crate) fn ready(status: &str) {
    let status = status.replace(char::is_control, " ");
    send(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The configuration is being read again; [`ready`] follows, whatever comes of it.
pub(crate) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "cannot tell the service manager of a reload"),
    }
}

/// What was accepted is being answered.
pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager: see NOTIFY_SOCKET");
    }
}
