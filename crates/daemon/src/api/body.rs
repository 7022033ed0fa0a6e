//! Reading requests, with problems instead of plain-text rejections.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use sessile_model::{Problem, ProblemKind};

use super::{MAX_BODY, Refused, with_status};

/// A JSON body; an empty one is `{}`.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refused> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => with_status(
                ProblemKind::BadRequest,
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body has more than {MAX_BODY} bytes"),
            ),
            _ => Problem::new(ProblemKind::BadRequest, "the body could not be read"),
        })?;
        let json: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(json).map(Self).map_err(|e| unreadable(&e).into())
    }
}

/// Says where the body is wrong without repeating any of it: it may hold secrets.
fn unreadable(e: &serde_json::Error) -> Problem {
    let detail = match e.classify() {
        serde_json::error::Category::Data => {
            let text = e.to_string();
            // The only data errors whose text is free of values.
            let safe =
                ["unknown field", "missing field", "duplicate field"].iter().any(|s| text.starts_with(s));
            let told = if safe {
                text
            } else {
                format!("a value does not fit (line {}, column {})", e.line(), e.column())
            };
            format!("the body is not what this path takes: {told}")
        }
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => {
            format!("the body is not JSON (line {}, column {})", e.line(), e.column())
        }
    };
    Problem::new(ProblemKind::BadRequest, detail)
}

/// The word in the path that names a session.
#[derive(Debug)]
pub struct Word(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Word {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Path(word) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(ProblemKind::BadRequest, "the session's name is not UTF-8"))?;
        Ok(Self(word))
    }
}

/// The query as pairs, in their order, checked for names that are not known.
#[derive(Debug)]
pub struct Pairs(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Pairs {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::new(ProblemKind::BadRequest, "the query cannot be read"))?;
        Ok(Self(pairs))
    }
}

impl Pairs {
    /// Refuses names that the path does not take.
    ///
    /// # Errors
    /// `BadRequest` with the first such name.
    pub fn known(self, names: &[&str]) -> Result<Self, Problem> {
        match self.0.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            Some((name, _)) => {
                Err(Problem::new(ProblemKind::BadRequest, format!("this path takes no parameter {name:?}"))
                    .hint(format!("it takes: {}", names.join(", "))))
            }
            None => Ok(self),
        }
    }

    /// The last value of a name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The last value of a name, in its type.
    ///
    /// # Errors
    /// `BadRequest` when it does not fit the type.
    pub fn value<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Problem::new(
                        ProblemKind::BadRequest,
                        format!("the parameter {name} has a value that does not fit"),
                    )
                })
            })
            .transpose()
    }
}
