//! Mistakes in the configuration: collected, placed, and shown all together. Made by every step of `load`.

use std::fmt::{self, Write as _};
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    SourceCode, SourceSpan, SpanContents,
};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Where, in bytes of the file; none for what did not come from the file.
    pub place: Option<Range<usize>>,
}

impl Mistake {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: None, place: None }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(crate) fn at(mut self, place: Range<usize>) -> Self {
        self.place = Some(place);
        self
    }
}

/// Everything that is wrong, in the file's order. Never empty.
#[derive(Debug, Clone)]
pub struct ConfigErrors {
    mistakes: Vec<Mistake>,
    /// The file's name and its text with secrets masked; none when there was no file to read.
    file: Option<(String, String)>,
}

impl ConfigErrors {
    pub(crate) fn new(mut mistakes: Vec<Mistake>, file: Option<(String, String)>) -> Self {
        mistakes.sort_by_key(|mistake| mistake.place.as_ref().map_or(usize::MAX, |place| place.start));
        Self { mistakes, file }
    }

    /// The mistakes, in the file's order.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Line and column of a mistake, both counted from 1.
    pub fn position(&self, mistake: &Mistake) -> Option<(usize, usize)> {
        let (_, text) = self.file.as_ref()?;
        let before = text.get(..mistake.place.as_ref()?.start)?;
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |start| start.chars().count()) + 1;
        Some((line, column))
    }

    /// All mistakes as a person reads them on a terminal, each with its line of the file.
    pub fn render(&self, colours: bool) -> String {
        let theme = if colours { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_context_lines(1).with_width(100);
        let source = self.file.as_ref().map(|(name, text)| Lines { name, text });
        let mut output = String::new();
        for mistake in &self.mistakes {
            let shown = Shown { mistake, source: source.as_ref() };
            // Writing into a `String` cannot fail; if the renderer gives up, the plain message still says it.
            if handler.render_report(&mut output, &shown).is_err() {
                let _ = writeln!(output, "{mistake}");
            }
        }
        output
    }
}

impl fmt::Display for ConfigErrors {
    /// One line a mistake, for logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.mistakes.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            if let (Some((name, _)), Some((line, column))) = (&self.file, self.position(mistake)) {
                write!(formatter, "{name}:{line}:{column}: ")?;
            }
            write!(formatter, "{}", mistake.message)?;
            if let Some(help) = &mistake.help {
                write!(formatter, " ({help})")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The file as the renderer quotes it: the line of a mistake and no other, as a neighbour says nothing about it.
#[derive(Debug)]
struct Lines<'a> {
    name: &'a str,
    text: &'a str,
}

/// Longer lines are not quoted whole: they would fill the terminal.
const LONGEST_QUOTE: usize = 200;

impl SourceCode for Lines<'_> {
    /// Asked without context, the renderer wants to know the place; asked with context, it wants the line.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let start = span.offset();
        let before = self.text.get(..start).ok_or(MietteError::OutOfBounds)?;
        let line_start = before.rfind('\n').map_or(0, |index| index + 1);
        let rest = self.text.get(line_start..).ok_or(MietteError::OutOfBounds)?;
        let line = rest.split('\n').next().unwrap_or_default();
        let line_end = line_start + line.len();
        let (from, to) = if lines_before > 0 && line.len() <= LONGEST_QUOTE {
            (line_start, line_end)
        } else {
            (start, (start + span.len()).min(line_end).max(start))
        };
        let quoted = self.text.get(from..to).ok_or(MietteError::OutOfBounds)?;
        let column = if from == line_start {
            0
        } else {
            self.text.get(line_start..from).map_or(0, |text| text.chars().count())
        };
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_owned(),
            quoted.as_bytes(),
            (from, quoted.len()).into(),
            before.matches('\n').count(),
            column,
            1,
        )))
    }
}

/// A mistake together with the text it points into, as the renderer wants them.
#[derive(Debug)]
struct Shown<'a> {
    mistake: &'a Mistake,
    source: Option<&'a Lines<'a>>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mistake.fmt(formatter)
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.mistake.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.mistake.place.as_ref()?;
        self.source.map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.mistake.place.clone()?;
        // A value of several lines is pointed at where it begins.
        let first_line = |source: &Lines<'_>| {
            source.text.get(place.clone()).and_then(|value| value.find('\n')).unwrap_or(place.len())
        };
        let length = self.source.map_or(place.len(), first_line).min(LONGEST_QUOTE);
        Some(Box::new(std::iter::once(LabeledSpan::new(None, place.start, length))))
    }
}
