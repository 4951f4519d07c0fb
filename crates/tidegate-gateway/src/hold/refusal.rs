//! Why a call has no room, and what its caller is told.

use std::time::Duration;

use http::HeaderMap;
use tidegate_store::{Refused, Scope};
use tidegate_wire::ErrorClass;

use super::headers::put_refused;
use crate::accept::Call;
use crate::admit::RefusalReason;
use crate::error::{GatewayError, Source};
use crate::gateway::Gateway;
use crate::way::Refusal;

/// What nobody can say at the moment is not said: how much of a limit others have used.
const SHARE_USED_UP: &str = "the counters that all replicas share cannot be reached, and what this replica may give out of it \
                             without them is used up";

/// Why a call has no room.
#[derive(Debug)]
pub(crate) enum NotHeld {
    /// A limit or a budget has none.
    Refused(Refused),
    /// It may cost too much wherever it goes.
    TooDear(GatewayError),
}

impl NotHeld {
    /// Whether it would have room if it cost less.
    pub(crate) fn is_for_money(&self) -> bool {
        matches!(self, Self::Refused(Refused::Budget { .. }))
    }

    /// What the caller is told. Counts the refusal.
    pub(crate) fn told(self, gateway: &Gateway, call: &Call) -> Refusal {
        match self {
            Self::TooDear(error) => error.into(),
            Self::Refused(refused) => {
                let mut headers = HeaderMap::new();
                put_refused(&mut headers, &refused, call.dialect);
                let error = to_error(call, &refused);
                gateway.series.not_admitted(reason_of(&refused));
                Refusal { error, attempts: 0, headers }
            }
        }
    }
}

/// The words for it.
pub(super) fn to_error(call: &Call, refused: &Refused) -> GatewayError {
    let base = |status, class, message: String, retry_after: Option<Duration>| GatewayError {
        status,
        class,
        source: Source::Caller,
        code: Some(reason_of(refused).as_str().to_owned()),
        retry_after,
        ..GatewayError::bad_request(message)
    };
    match refused {
        Refused::Limit { scope, measure, limit, per, retry_after, is_share } => {
            let per = per.map_or(String::new(), |per| format!(" per {}", per.as_str()));
            let share = if *is_share { format!("; {SHARE_USED_UP}") } else { String::new() };
            let message = format!(
                "Limit reached: {} may have {limit} {}{per}{share}. Try again in {} seconds.",
                whose(scope, call),
                measure.as_str(),
                // Upwards, like the header: who follows the words must not be refused again.
                (retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)).max(1),
            );
            base(429, ErrorClass::RateLimit, message, Some(*retry_after))
        }
        Refused::Budget { scope, usd, per, is_share: true, .. } => {
            let message = format!(
                "Budget used up for now: {} may spend {usd} US dollars per {}; {SHARE_USED_UP}, or too little for this \
                 call. Try again in a while.",
                whose(scope, call),
                per.as_str(),
            );
            base(402, ErrorClass::Budget, message, None)
        }
        Refused::Budget { scope, usd, per, used, held, resets_at, .. } => {
            let reset = match resets_at {
                None => "It does not reset; ask for a larger one.".to_owned(),
                Some(at) => format!("It resets at {}.", at.strftime("%Y-%m-%d %H:%M UTC")),
            };
            let message = format!(
                "Budget used up: {} may spend {usd} US dollars per {}, {used} are spent and {held} are held by calls in \
                 flight, which leaves too little for this call. {reset}",
                whose(scope, call),
                per.as_str(),
            );
            base(402, ErrorClass::Budget, message, None)
        }
        Refused::Unavailable { retry_after, .. } => GatewayError {
            source: Source::Gateway,
            ..base(
                503,
                ErrorClass::Overloaded,
                "Tidegate cannot tell at the moment whether there is room for this call, and is configured to refuse \
                 calls then."
                    .to_owned(),
                Some(*retry_after),
            )
        },
    }
}

fn reason_of(refused: &Refused) -> RefusalReason {
    match refused {
        Refused::Limit { .. } => RefusalReason::Limit,
        Refused::Budget { .. } => RefusalReason::Budget,
        Refused::Unavailable { .. } => RefusalReason::Unavailable,
    }
}

/// Whose limit it is, at the beginning of a clause. Names are what the caller may know: its own.
pub(super) fn whose(scope: &Scope, call: &Call) -> String {
    let principal = &call.principal;
    match scope {
        Scope::Organization(_) => match principal.organization() {
            Some(organization) => format!("organisation `{}`", organization.state.load().name),
            None => "the organisation".to_owned(),
        },
        Scope::Team(_) => match principal.team() {
            Some(team) => format!("team `{}`", team.state.load().name),
            None => "the team".to_owned(),
        },
        Scope::Key(_) => match principal.key() {
            Some(key) => format!("key `{}`", key.name),
            None => "this key".to_owned(),
        },
        Scope::EndUser(user) => format!("end user `{}`", user.name),
        Scope::Tag(name, value) => format!("the tag `{name}={value}`"),
        Scope::Experiment(name) => format!("the experiment `{name}`"),
    }
}
