//! The words that tell how hard a call looks, by language. Beginnings of words, as languages bend their ends.

/// What a word tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// Somebody has to think.
    Reasoning,
    /// There is something to compute or to prove.
    Maths,
    /// It is about programs.
    Code,
    /// It is quickly said.
    Quick,
    /// The answer has to keep to something.
    Constraint,
    /// Something is to be made.
    Task,
}

/// Beginnings of words, in small letters, of three letters and more.
#[rustfmt::skip]
pub(super) const STEMS: [(Hint, &[&str]); 6] = [
    (Hint::Reasoning, &[
        // English
        "analy", "architect", "assess", "assumption", "justif", "compare", "comparison", "complexit", "construct", "counterexample", "critical", "debug",
        "derive", "design", "devise", "diagnos", "distributed", "evaluat", "formulate", "hypothes", "implement", "implication", "infer", "invariant",
        "investigat", "optimi", "reason", "refactor", "scenario", "strateg", "trade", "tradeoff", "correctness", "concurren", "deadlock", "develop",
        "explain", "prove", "proof", "disprove", "sensitivit", "specif", "scalab", "consisten",
        // German
        "analysier", "architektur", "begründ", "beurteil", "entwirf", "entwerf", "entwickl", "erklär", "herleit", "optimier", "refaktor", "vergleich",
        "bewert", "beweis", "konsisten", "untersuch",
        // French
        "conçois", "concevoir", "compromis", "démontr", "évalu", "explique", "stratég", "cohéren", "généralis",
        // Spanish, Portuguese, Italian
        "analiz", "analis", "compara", "confront", "demuestr", "demostr", "demonstr", "dimostr", "diseñ", "desenh", "projet", "progett", "evalú",
        "evalua", "avali", "valut", "explica", "justifica", "optimiz", "otimiz", "ottimizz", "estrateg", "arquitect", "arquitet", "architett", "compromess",
        "spiega",
        // Russian
        "анализ", "проанализ", "докаж", "доказ", "обоснуй", "объясн", "оптимиз", "реализуй", "спроект", "сравн", "оцен", "архитект", "стратег",
    ]),
    (Hint::Maths, &[
        "theorem", "proof", "prove", "lemma", "integral", "derivativ", "equation", "matrix", "eigenval", "probabilit", "polynom", "irrational", "infinitel",
        "converge", "continuous", "convex", "topolog", "algebra", "induction", "asymptot", "logarithm", "gradient", "relaxation", "hilbert", "prime",
        "solve", "quantif", "complexity", "calculus", "combinator",
        "beweis", "gleichung", "stetig", "wahrscheinlich", "ableitung", "primzahl", "kompakt",
        "théorème", "équation", "irrationnel", "preuve", "probabilité", "dérivée",
        "teorema", "ecuaci", "equaç", "equazion", "probabilidad", "probabilit", "corrección",
        "теорем", "уравнен", "множеств", "вероятност", "интеграл", "аксиом", "несчётн", "матриц",
    ]),
    (Hint::Code, &[
        "python", "javascript", "typescript", "rust", "golang", "kotlin", "swift", "haskell", "regex", "regular", "function", "algorithm", "compil", "script",
        "kubernetes", "docker", "database", "query", "queries", "thread", "mutex", "stacktrace", "exception", "bytecode", "kernel", "microservice", "pytest",
        "unittest", "react", "linux", "bash", "postgres", "queue", "cache", "tcp", "protocol", "commit", "algorit", "algoritm", "programm", "funktion",
        "code", "código", "codice", "кода", "процесс", "поток", "bf16", "gpus",
    ]),
    (Hint::Quick, &[
        "translat", "hello", "thank", "synonym", "spelling", "capital", "opposite", "convert", "classif", "extract", "reformat", "birthday", "sentiment",
        "positive", "negative", "stand", "mean",
        "übersetz", "danke", "hallo", "hauptstadt", "bedeutet",
        "tradui", "merci", "bonjour", "quelle", "couleur",
        "traduc", "traduz", "gracias", "hola", "cuánto", "obrigad", "capitale", "ciao", "grazie",
        "перевед", "спасибо", "привет", "сколько", "столиц",
    ]),
    (Hint::Task, &[
        "write", "draft", "create", "plan", "rewrite", "describ", "turn", "essay", "report", "article", "story", "outline",
        "schreib", "erstell", "verfass", "formulier", "zusammenfass",
        "écri", "rédig", "escrib", "escrev", "redact", "scriv", "crea", "cria", "напиш", "опиши", "состав", "создай",
    ]),
    (Hint::Constraint, &[
        "must", "should", "exactly", "without", "ensure", "avoid", "least", "most", "only", "never", "every", "keep", "mention", "constraint", "require",
        "include", "criteria", "explicit",
        "müssen", "muss", "darf", "ohne", "mindestens", "höchstens", "genau", "jede",
        "doit", "doivent", "sans", "moins", "chaque", "exactement",
        "debe", "deben", "deve", "senza", "menos", "cada", "ogni",
        "долж", "минимум", "кажд",
    ]),
];

/// Words of languages that write without blanks: looked for anywhere.
#[rustfmt::skip]
pub(super) const RUNS: [(Hint, &[&str]); 5] = [
    (Hint::Reasoning, &[
        "分析", "设计", "設計", "优化", "最適化", "比较", "比較", "推导", "架构", "一致性", "评估", "考察", "整合性", "解释", "説明", "实现", "実装", "障害", "并发", "分散",
        "분석", "설계", "최적화", "비교", "선형화", "설명", "병렬",
    ]),
    (Hint::Maths, &["证明", "証明", "증명", "方程", "概率", "積分", "积分", "归纳", "定理", "整除", "行列", "矩阵"]),
    (Hint::Code, &["代码", "コード", "算法", "アルゴリズム", "코드", "알고리즘", "编程", "函数", "関数", "解く", "구현", "机器学习", "系统"]),
    (Hint::Task, &["写一", "書いて", "作成", "작성", "撰写", "列出"]),
    (Hint::Quick, &["翻译", "翻訳", "谢谢", "ありがとう", "首都", "수도", "번역", "감사", "怎么说", "你好"]),
];

/// Signs of programs and formulas, looked for anywhere.
pub(super) const SIGNS: [(Hint, &[&str]); 3] = [
    (
        Hint::Code,
        &[
            "```",
            "();",
            "=> {",
            "->",
            "::",
            "def ",
            "#include",
            "select ",
            "</",
            "stack trace",
            " != ",
            "==",
            "return ",
        ],
    ),
    (
        Hint::Maths,
        &[
            "\\frac", "\\int", "\\sum", "\\sqrt", "$$", "∑", "∫", "√", "≤", "≥", "∀", "∃", "→ ∞", "^2", "^3",
            "²", " = 0",
        ],
    ),
    (
        Hint::Reasoning,
        &[
            "step by step",
            "schritt für schritt",
            "étape par étape",
            "paso a paso",
            "passo dopo passo",
            "passo a passo",
            "по шагам",
            "root cause",
            "edge case",
            "failure mode",
            "trade-off",
            "why does",
            "show how",
        ],
    ),
];
