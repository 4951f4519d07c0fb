//! What a model can do, and what it is for. Read by target choice (a call with images goes to models that see) and shown by `tidegate models`.

macro_rules! names {
    ($(#[$outer:meta])* $type:ident { $($(#[$documentation:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[$documentation])* $name,)*
        }

        impl $type {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it is written in the data.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// Reads what `name` gives.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($text => Some(Self::$name),)*
                    _ => None,
                }
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, formatter: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                formatter.pad(self.name())
            }
        }
    };
}
pub(crate) use names;

names! {
    /// Something that a model can do.
    Capability {
        /// Takes audio in.
        AudioIn = "audio_in",
        /// Gives audio out.
        AudioOut = "audio_out",
        /// Operates a computer through tools of its own.
        ComputerUse = "computer_use",
        /// Keeps its output to a JSON Schema.
        JsonSchema = "json_schema",
        /// Calls several tools at once.
        ParallelTools = "parallel_tools",
        /// Reads PDF documents.
        Pdf = "pdf",
        /// Continues an answer that the caller has begun.
        Prefill = "prefill",
        /// Reads repeated prompts from a cache at a lower price.
        PromptCaching = "prompt_caching",
        /// Thinks before it answers.
        Reasoning = "reasoning",
        /// Streams.
        Streaming = "streaming",
        /// Takes system instructions.
        System = "system",
        /// Lets the caller say which tool to call.
        ToolChoice = "tool_choice",
        /// Calls tools.
        Tools = "tools",
        /// Watches video.
        VideoIn = "video_in",
        /// Sees images.
        Vision = "vision",
        /// Searches the web on the provider's side.
        WebSearch = "web_search",
    }
}

names! {
    /// What a model is for.
    Mode {
        /// Conversation.
        Chat = "chat",
        /// Conversation, through OpenAI's Responses alone.
        Responses = "responses",
        /// Plain text completion.
        Completion = "completion",
        /// Embedding vectors.
        Embedding = "embedding",
        /// Ordering documents by relevance.
        Rerank = "rerank",
        /// Judging content.
        Moderation = "moderation",
        /// Drawing images.
        ImageGeneration = "image_generation",
        /// Changing images.
        ImageEdit = "image_edit",
        /// Making videos.
        VideoGeneration = "video_generation",
        /// Text to speech.
        AudioSpeech = "audio_speech",
        /// Speech to text.
        AudioTranscription = "audio_transcription",
        /// Spoken conversation over one connection.
        Realtime = "realtime",
        /// Reading text off pages.
        Ocr = "ocr",
        /// Web search.
        Search = "search",
        /// Anything else; not routed to.
        Other = "other",
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Nothing known.
    pub const NONE: Self = Self(0);

    /// Whether this one is in the set.
    pub fn has(self, capability: Capability) -> bool {
        self.0 & bit(capability) != 0
    }

    /// Whether all of the other set are in this one.
    pub fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// The set with one more.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | bit(capability))
    }

    /// All that are in the set.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |capability| self.has(*capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::NONE, Self::with)
    }
}

fn bit(capability: Capability) -> u32 {
    1 << capability as u32
}
