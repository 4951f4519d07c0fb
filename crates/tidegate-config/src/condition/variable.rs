//! What a condition can look at. The table in `docs/routing.md` says the same to users.

use super::kind::Kind;

/// Something that a condition can look at. All of them are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variable {
    /// The model that the caller asked for.
    CallModel,
    /// The caller's dialect, such as `openai-chat`.
    CallDialect,
    /// What is asked for, such as `chat`.
    CallOperation,
    /// Whether the answer is streamed.
    CallStream,
    /// How long the input is, as far as that can be told without counting.
    CallInputTokens,
    /// How long the answer may be; 0 where the call does not say.
    CallMaxOutputTokens,
    /// Whether there are images.
    CallHasImages,
    /// Whether there is sound.
    CallHasAudio,
    /// Whether there are documents.
    CallHasFiles,
    /// How many tools are offered.
    CallTools,
    /// Whether the answer must fit a JSON Schema, or be JSON at all.
    CallJsonSchema,
    /// The request's headers, without those that hold credentials.
    CallHeaders,
    /// The call's tags.
    CallTags,
    /// The end user.
    CallUser,
    /// The session.
    CallSession,
    /// The id of the key.
    PrincipalKey,
    /// The name of the team.
    PrincipalTeam,
    /// The name of the organisation.
    PrincipalOrganization,
    /// The part that is spent of the tightest budget that applies.
    BudgetUsed,
    /// The hour, UTC.
    NowHour,
    /// The minute.
    NowMinute,
    /// The day of the week, 0 for Monday.
    NowWeekday,
    /// The provider of the target that is looked at.
    TargetProvider,
    /// The provider's name of the model that is looked at.
    TargetModel,
}

impl Variable {
    /// All of them.
    pub const ALL: [Self; 24] = [
        Self::CallModel,
        Self::CallDialect,
        Self::CallOperation,
        Self::CallStream,
        Self::CallInputTokens,
        Self::CallMaxOutputTokens,
        Self::CallHasImages,
        Self::CallHasAudio,
        Self::CallHasFiles,
        Self::CallTools,
        Self::CallJsonSchema,
        Self::CallHeaders,
        Self::CallTags,
        Self::CallUser,
        Self::CallSession,
        Self::PrincipalKey,
        Self::PrincipalTeam,
        Self::PrincipalOrganization,
        Self::BudgetUsed,
        Self::NowHour,
        Self::NowMinute,
        Self::NowWeekday,
        Self::TargetProvider,
        Self::TargetModel,
    ];

    /// Its name in a condition.
    pub fn name(self) -> &'static str {
        match self {
            Self::CallModel => "call.model",
            Self::CallDialect => "call.dialect",
            Self::CallOperation => "call.operation",
            Self::CallStream => "call.stream",
            Self::CallInputTokens => "call.input_tokens",
            Self::CallMaxOutputTokens => "call.max_output_tokens",
            Self::CallHasImages => "call.has_images",
            Self::CallHasAudio => "call.has_audio",
            Self::CallHasFiles => "call.has_files",
            Self::CallTools => "call.tools",
            Self::CallJsonSchema => "call.json_schema",
            Self::CallHeaders => "call.headers",
            Self::CallTags => "call.tags",
            Self::CallUser => "call.user",
            Self::CallSession => "call.session",
            Self::PrincipalKey => "principal.key",
            Self::PrincipalTeam => "principal.team",
            Self::PrincipalOrganization => "principal.organization",
            Self::BudgetUsed => "budget.used",
            Self::NowHour => "now.hour",
            Self::NowMinute => "now.minute",
            Self::NowWeekday => "now.weekday",
            Self::TargetProvider => "target.provider",
            Self::TargetModel => "target.model",
        }
    }

    /// The variable of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|variable| variable.name() == name)
    }

    /// Whether it says something of a target, and so means nothing on a model.
    pub fn is_of_target(self) -> bool {
        matches!(self, Self::TargetProvider | Self::TargetModel)
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::CallStream
            | Self::CallHasImages
            | Self::CallHasAudio
            | Self::CallHasFiles
            | Self::CallJsonSchema => Kind::Bool,
            Self::CallInputTokens
            | Self::CallMaxOutputTokens
            | Self::CallTools
            | Self::NowHour
            | Self::NowMinute
            | Self::NowWeekday => Kind::Int,
            Self::BudgetUsed => Kind::Double,
            Self::CallHeaders | Self::CallTags => Kind::Texts,
            _ => Kind::Text,
        }
    }
}
