//! Who may do what: the permissions of a key and the roles of administrators. Values that the store keeps, the admin API
//! takes and the gateway's `admit` asks.

mod narrow;
mod permissions;
mod role;

pub use permissions::{Feature, Features, ModelPattern, Permissions};
pub use role::{Area, Role};
