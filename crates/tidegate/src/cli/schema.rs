//! `tidegate schema`: the configuration's JSON Schema.

use crate::failure::Failure;
use crate::output::print_json;

pub(super) fn run() -> Result<(), Failure> {
    print_json(&tidegate_config::schema())
}
