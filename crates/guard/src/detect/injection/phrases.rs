//! What attacks say, by hand: a verb of leaving off near a word for instructions, a wish to see
//! what is hidden, a role without rules.

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::detect::Local;
use crate::detect::words::Words;
use crate::finding::Category;

/// Part of a phrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// To leave off: ignore, forget.
    Leave,
    /// What came before: previous, above.
    Before,
    /// What is left: instructions, rules.
    Rules,
    /// To show: reveal, print.
    Show,
    /// What is hidden: system prompt.
    Hidden,
    /// Enough by itself.
    Whole,
}

/// Parts in small letters. Those of letters that have capitals outside of ASCII are listed in both.
const PARTS: &[(Part, &[&str])] = &[
    (
        Part::Leave,
        &[
            "ignore ",
            "disregard ",
            "forget ",
            "overlook ",
            "bypass ",
            "override ",
            "do not follow ",
            "don't follow ",
            "stop following ",
            "pay no attention to ",
            "ignorez ",
            "oublie",
            "ne tiens pas compte",
            "ne tenez pas compte",
            "ignorier",
            "vergiss",
            "vergessen sie",
            "missachte",
            "olvida",
            "olvide",
            "ignora",
            "haz caso omiso",
            "dimentica",
            "trascura",
            "esqueça",
            "esquece",
            "desconsidere",
            "negeer ",
            "vergeet ",
            "zignoruj",
            "zapomnij",
            "ignorera",
            "glöm",
            "игнорир",
            "забудь",
            "забыть",
            "не обращай",
            "ignorujte",
            "zapomeň",
            "yok say",
            "unut",
            "görmezden gel",
            "忽略",
            "无视",
            "無視",
            "忘记",
            "忘掉",
            "忘れ",
            "무시",
            "잊어",
            "تجاهل",
            "انس",
            "अनदेखा",
            "भूल जा",
            "αγνόησε",
            "ξέχασε",
            "abaikan",
            "lupakan",
            "bỏ qua",
            "התעלם",
            "ignoră",
            "uita",
        ],
    ),
    (
        Part::Before,
        &[
            "previous",
            "prior",
            "above",
            "earlier",
            "all ",
            "any ",
            "everything",
            "your ",
            "preceding",
            "before",
            "original",
            "précédent",
            "antérieur",
            "ci-dessus",
            "toutes",
            "vorherig",
            "bisherig",
            "obig",
            "alle",
            "anterior",
            "previa",
            "todas",
            "precedent",
            "tutte",
            "vorige",
            "eerdere",
            "poprzedni",
            "wszystk",
            "tidigare",
            "предыдущ",
            "все ",
            "předchozí",
            "önceki",
            "tüm",
            "之前",
            "以前",
            "上述",
            "所有",
            "以上",
            "先前",
            "これまで",
            "前の",
            "上記",
            "이전",
            "위의",
            "모든",
            "السابق",
            "पिछले",
            "सभी",
            "προηγούμεν",
            "sebelumnya",
            "trước",
            "הקודמ",
            "anterioar",
        ],
    ),
    (
        Part::Rules,
        &[
            "instruction",
            "prompt",
            "directive",
            "guideline",
            "command",
            "you have been told",
            "you've been told",
            "you have been instructed",
            "you've been instructed",
            "you were told",
            "anweisung",
            "instruktion",
            "vorgaben",
            "instruccion",
            "instrucción",
            "indicacion",
            "istruzion",
            "instruç",
            "opdracht",
            "polece",
            "instrukcj",
            "инструкци",
            "указани",
            "pokyn",
            "instrukc",
            "talimat",
            "yönerge",
            "指示",
            "指令",
            "命令",
            "提示",
            "プロンプト",
            "지시",
            "명령",
            "التعليمات",
            "تعليمات",
            "निर्देश",
            "οδηγίες",
            "instruksi",
            "hướng dẫn",
            "chỉ dẫn",
            "הוראות",
            "instrucțiuni",
            "consigne",
        ],
    ),
    (
        Part::Show,
        &[
            "reveal",
            "show me",
            "print",
            "repeat",
            "output",
            "tell me",
            "display",
            "leak",
            "what is",
            "what's",
            "what are",
            "give me",
            "share",
            "disclose",
            "send me",
            "zeig",
            "verrate",
            "montre",
            "révèle",
            "muestra",
            "revela",
            "dime",
            "mostra",
            "покажи",
            "显示",
            "告诉",
            "教えて",
            "알려",
        ],
    ),
    (
        Part::Hidden,
        &[
            "system prompt",
            "hidden prompt",
            "initial prompt",
            "initial instructions",
            "your instructions",
            "secret key",
            "the password",
            "your password",
            "system message",
            "systemprompt",
            "secret password",
            "words above",
            "mot de passe",
            "la contraseña",
            "das passwort",
            "ihr passwort",
            "dein passwort",
            "la password",
            "пароль",
            "密码",
            "パスワード",
            "prompt du système",
            "prompt del sistema",
            "系统提示",
        ],
    ),
    (
        Part::Whole,
        &[
            "do anything now",
            "developer mode enabled",
            "developer mode output",
            "jailbreak mode",
            "jailbroken",
            "you are now dan",
            "dan mode",
            "no longer bound by",
            "without any restrictions or",
            "freed from the typical",
            "break free of the",
            "broken free of the",
            "do not have to abide",
            "don't have to abide",
            "unfiltered and amoral",
            "always intelligent and machiavellian",
            "<|im_start|>system",
            "<|system|>",
            "[system override",
            "system override",
            "### system:",
            "<<sys>>",
            "[/inst]",
            "new instructions:",
            "end of instructions",
            "stay in character. if",
            "you will never refuse",
            "you can never refuse",
            "do not tell the user",
            "don't tell the user",
            "without informing the user",
            "without telling the user",
            "pretend you have no restrictions",
            "act as if you have no restrictions",
        ],
    ),
];

/// Bytes that the parts of a phrase stand within.
const REACH: usize = 90;

/// Looks for phrases.
pub fn scan(text: &str, found: &mut Vec<Local>) {
    static FINDER: OnceLock<(Words, Vec<Part>)> = OnceLock::new();
    let (finder, parts) = FINDER.get_or_init(|| {
        let rows = PARTS.iter().flat_map(|(part, words)| words.iter().map(move |word| (*part, *word)));
        let (parts, words): (Vec<Part>, Vec<&str>) = rows.unzip();
        (Words::new(words), parts)
    });
    let bytes = text.as_bytes();
    let mut last: [Option<(usize, usize)>; 6] = [None; 6];
    finder.each(bytes, |hit| {
        let (begin, end) = (hit.span().start, hit.span().end);
        let inside =
            begin > 0 && bytes[begin].is_ascii_alphabetic() && bytes[begin - 1].is_ascii_alphabetic();
        if inside {
            return;
        }
        let part = parts[hit.word];
        last[part as usize] = Some((begin, end));
        let near = |part: Part| last[part as usize].filter(|(start, _)| end - start <= REACH);
        let told = match part {
            Part::Rules => match (near(Part::Leave), near(Part::Before)) {
                (Some(leave), Some(before)) if before.0 >= leave.0 => {
                    Some((leave.0, 0.9, "tells to leave off earlier instructions"))
                }
                // Where the verb stands last.
                _ => None,
            },
            Part::Leave => match (near(Part::Rules), near(Part::Before)) {
                (Some(rules), Some(before)) if rules.0 >= before.0 && !bytes[begin].is_ascii() => {
                    Some((before.0, 0.9, "tells to leave off earlier instructions"))
                }
                _ => None,
            },
            Part::Hidden => near(Part::Show).map(|show| (show.0, 0.7, "asks for what is hidden")),
            Part::Whole => Some((begin, 0.85, "a phrase of texts that lift a model's rules")),
            Part::Before | Part::Show => None,
        };
        if let Some((start, confidence, why)) = told {
            // Nothing of another sentence.
            let crosses =
                bytes[start..begin].windows(2).any(|pair| matches!(pair, [b'.' | b'!' | b'?', b' ' | b'\n']));
            if !crosses {
                found.push(Local {
                    kind: "instruction",
                    category: Category::Injection,
                    span: start..end,
                    confidence,
                    why: Cow::Borrowed(why),
                    taint: None,
                });
            }
        }
    });
}
