//! An answer as the steps of a stream. A dialect turns each step into no event, one or several; each token is one step.

use super::{Answer, Piece};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The stream's opening event.
    Open,
    PieceOpen {
        choice: usize,
        piece: usize,
    },
    Word {
        choice: usize,
        piece: usize,
        word: usize,
    },
    PieceClose {
        choice: usize,
        piece: usize,
    },
    ChoiceEnd {
        choice: usize,
    },
    Usage,
    /// The terminal event: `[DONE]`, `message_stop`.
    End,
}

/// All steps, several choices in turn.
pub(crate) fn steps(answer: &Answer) -> Vec<Step> {
    let mut lanes: Vec<_> =
        answer.choices.iter().enumerate().map(|(choice, _)| of_choice(answer, choice).into_iter()).collect();
    let mut all = vec![Step::Open];
    loop {
        let before = all.len();
        all.extend(lanes.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            break;
        }
    }
    all.push(Step::Usage);
    all.push(Step::End);
    all
}

fn of_choice(answer: &Answer, choice: usize) -> Vec<Step> {
    let mut steps = Vec::new();
    let pieces = answer.choices.get(choice).map(|choice| choice.pieces.as_slice()).unwrap_or_default();
    for (piece, content) in pieces.iter().enumerate() {
        steps.push(Step::PieceOpen { choice, piece });
        steps.extend((0..content.words().len()).map(|word| Step::Word { choice, piece, word }));
        steps.push(Step::PieceClose { choice, piece });
    }
    steps.push(Step::ChoiceEnd { choice });
    steps
}

impl Step {
    /// The tokens that this step stands for.
    pub(crate) fn tokens(self) -> u64 {
        u64::from(matches!(self, Self::Word { .. }))
    }

    /// The token's text and its piece.
    pub(crate) fn word(self, answer: &Answer) -> Option<(&Piece, &str)> {
        let Self::Word { choice, piece, word } = self else { return None };
        let piece = answer.choices.get(choice)?.pieces.get(piece)?;
        piece.words().get(word).map(|word| (piece, word.as_str()))
    }

    /// The piece that opens or closes.
    pub(crate) fn piece(self, answer: &Answer) -> Option<&Piece> {
        let (Self::PieceOpen { choice, piece } | Self::PieceClose { choice, piece }) = self else {
            return None;
        };
        answer.choices.get(choice)?.pieces.get(piece)
    }
}
