//! Station 6: bring the answer back in the caller's dialect, whole or streamed.

mod array;
mod body;
mod count;
mod onward;
mod recovery;
mod stream;
mod track;
mod whole;

pub use body::AnswerBody;
pub(crate) use onward::Onward;
pub(crate) use stream::{StreamRelay, likely_input};
pub(crate) use whole::WholeAnswer;
