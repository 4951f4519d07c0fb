//! A stream that broke after a part of it was sent: another target goes on with it, or the caller is told the truth.
//!
//! No task: the search for somebody who goes on is a future that lies in the stream, is polled as the stream is, and is
//! dropped with it. The caller hears nothing meanwhile, for as long as the next target may take to its first token.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tidegate_policy::rule;
use tidegate_wire::FailureKind;
use tidegate_wire::continuation::Following;

use super::onward::{Found, NextSource, NoSource};
use super::stream::{State, Stopped, StreamRelay};
use super::track::Left;
use super::whole::reply_options;
use crate::attempt::{Failure, count_late_failure};
use crate::error::GatewayError;
use crate::series::Continued;

/// A stream that broke.
pub(super) struct Interrupted {
    /// Why.
    failure: Failure,
    /// What is left of it; gone once somebody goes on with it.
    left: Option<Left>,
}

impl StreamRelay {
    /// The stream cannot be read on.
    pub(super) fn stopped(&mut self, stopped: Stopped) {
        match stopped {
            Stopped::Departed => self.departed(),
            Stopped::Failed(failure)
                if failure.kind == FailureKind::Stalled && self.is_complete_without_end() => {}
            Stopped::Failed(mut failure) => {
                failure.conceal(&self.planned.provider);
                if self.onward.is_some() && rule(failure.kind).in_stream_goes_on {
                    // What came goes out before anybody else is asked, which takes time.
                    self.source = None;
                    self.timer = None;
                    self.interrupted = Some(Box::new(Interrupted { failure, left: None }));
                    self.state = State::Broken;
                } else {
                    self.break_off(&failure);
                }
            }
        }
    }

    /// Asks for somebody who goes on, unless nobody can.
    pub(super) fn begin_search(&mut self) {
        let (Some(mut interrupted), Some(onward)) = (self.interrupted.take(), self.onward.take()) else {
            return self.end_without_cause();
        };
        let Some(left) = self.track.leave(reply_options(&onward.call)) else {
            return self.break_off(&interrupted.failure);
        };
        if let Some(obstacle) = left.said.obstacle() {
            return self.break_off_because(interrupted.failure, &NoSource::Impossible(obstacle));
        }
        let Some(mut settlement) = self.settlement.take() else { return self.end_without_cause() };
        let kind = interrupted.failure.kind;
        let used = self.likely_used();
        settlement.last_attempt_failed(kind);
        settlement.also_used(&self.planned.target, &used);
        self.used_before = self.used_before.plus(&used.usage);
        count_late_failure(&self.planned, self.key, &interrupted.failure, self.gateway.clock.now());
        tracing::debug!(target_name = %interrupted.failure.target, %kind, "a stream broke, and another target is asked to go on");
        let said = left.said.as_prefill();
        interrupted.left = Some(left);
        self.interrupted = Some(interrupted);
        let gateway = Arc::clone(&self.gateway);
        self.search = Some(onward.search(gateway, settlement, kind, said, used.usage.output));
        self.state = State::Searching;
    }

    /// Waits for somebody who goes on.
    pub(super) fn poll_search(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(search) = &mut self.search else {
            self.end_without_cause();
            return Poll::Ready(());
        };
        let Found { onward, settlement, outcome } = std::task::ready!(search.as_mut().poll(context));
        self.search = None;
        self.onward = Some(onward);
        self.settlement = Some(settlement);
        match outcome {
            Ok(source) => self.go_on(source),
            Err(why) => {
                let failure = self.interrupted.take().map(|interrupted| interrupted.failure);
                if let Some(failure) = failure {
                    self.gateway.series.continued(why.outcome());
                    self.end_with(&with_reason(&failure, &why), failure.kind);
                }
            }
        }
        Poll::Ready(())
    }

    /// Takes another target's stream in the place of the one that broke.
    fn go_on(&mut self, NextSource { mut relay, planned, asked }: NextSource) {
        let left = self.interrupted.as_mut().and_then(|interrupted| interrupted.left.take());
        let Some(left) = left else { return self.end_without_cause() };
        self.gateway.series.continued(Continued::Taken);
        self.source = relay.source.take();
        self.frames = std::mem::take(&mut relay.frames);
        std::mem::swap(&mut self.track, &mut relay.track);
        self.state = relay.state;
        self.request_tokens = relay.request_tokens;
        self.idle = relay.idle;
        self.heard_at = Instant::now();
        self.timer = None;
        self.planned = planned;
        self.key = relay.key;
        let following = Following::new(&left.said, asked, self.used_before);
        let mut out = Vec::new();
        let outcome = self.track.go_on(left, following, &mut out);
        self.queue(out);
        if outcome.is_err() {
            self.departed();
        }
    }

    /// The other target says something else than the caller was told: nothing of it is shown.
    fn departed(&mut self) {
        self.gateway.series.continued(Continued::Departed);
        let used = self.likely_used();
        if let Some(settlement) = &mut self.settlement {
            settlement.likely_used(used);
        }
        let Some(interrupted) = self.interrupted.take() else { return self.end_without_cause() };
        let failure = &interrupted.failure;
        let mut error = failure.to_error();
        let other = &self.planned.target.label;
        error.message.push_str(&format!(
            " {other} was asked to go on with it and answers in other words, so that the two do not fit together."
        ));
        self.end_with(&error, failure.kind);
    }

    fn break_off_because(&mut self, mut failure: Failure, why: &NoSource) {
        self.gateway.series.continued(why.outcome());
        failure.message = format!("{} ({})", failure.message.trim_end_matches('.'), reason(why));
        self.break_off(&failure);
    }

    /// Cannot happen, and must not look like the end of an answer if it does.
    fn end_without_cause(&mut self) {
        let error = GatewayError::internal("The stream lost its way. This is a defect of Tidegate.");
        self.end_with(&error, FailureKind::Truncated);
    }
}

impl NoSource {
    fn outcome(&self) -> Continued {
        match self {
            Self::Impossible(_) => Continued::Impossible,
            Self::NoRoom => Continued::NoRoom,
            Self::NobodyLeft | Self::Failed(_) => Continued::NobodyLeft,
        }
    }
}

fn with_reason(failure: &Failure, why: &NoSource) -> GatewayError {
    let mut error = failure.to_error();
    let reason = reason(why);
    error.message.push_str(&format!(" It did not go on elsewhere: {reason}"));
    if !error.message.ends_with('.') {
        error.message.push('.');
    }
    error
}

fn reason(why: &NoSource) -> String {
    match why {
        NoSource::Impossible(obstacle) => format!("the answer {}", obstacle.as_clause()),
        NoSource::NoRoom => "a budget has no room for another answer".to_owned(),
        NoSource::NobodyLeft => "no other target is ready".to_owned(),
        NoSource::Failed(message) => message.clone(),
    }
}
