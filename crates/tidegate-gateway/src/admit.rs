//! Station 2: who asks, may they, is there room?
//!
//! Keys do not exist yet: whoever reaches the (loopback) address may call. What is checked is room: a place in the
//! ledger is taken before the call can cost anything, so that no call can go unrecorded.

use std::sync::Arc;
use std::time::Duration;

use tidegate_store::{LedgerEntry, NoSeat};

use crate::accept::Call;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::settle::Settlement;

/// When to come back after the ledger was full: it writes in batches several times a second.
const LEDGER_FULL_RETRY: Duration = Duration::from_secs(1);

/// Admits a call: from here on it is settled exactly once, whatever happens.
pub fn admit(gateway: &Arc<Gateway>, call: &Call) -> Result<Settlement, GatewayError> {
    let seat = gateway.ledger().reserve().map_err(|no_seat| {
        let message = match no_seat {
            NoSeat::Full => {
                "Tidegate cannot record more calls at the moment, and takes none that it cannot record."
            }
            NoSeat::Closed => "Tidegate is shutting down.",
        };
        GatewayError::unavailable(message, LEDGER_FULL_RETRY)
    })?;
    let mut entry = LedgerEntry::new(call.id, call.dialect.as_str(), call.operation.as_str());
    entry.model = Some(call.model.clone().into());
    entry.streamed = call.stream;
    entry.bytes_in = u64::try_from(call.body().len()).unwrap_or(u64::MAX);
    entry.tags = call.wishes.tags.clone();
    entry.end_user.clone_from(&call.end_user);
    Ok(Settlement::begin(gateway, seat, entry, call.at))
}
