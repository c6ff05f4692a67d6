//! Why a token proves nothing: a short word for the caller, the reason for the officer.

/// What is wrong with a token. The text is for the officer; it names claims but never their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Larger than the limit.
    #[error("the token is longer than {0} bytes")]
    Oversize(usize),
    /// Not three base64url parts with JSON in the first two.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// Typically: an attempt to have one parser read one value and another the other.
    #[error("the token names a member twice")]
    Duplicate,
    /// `none`, a shared-secret algorithm, or one the issuer is not allowed.
    #[error("the algorithm is not accepted for this issuer")]
    Algorithm,
    /// `jku`, `jwk`, `x5u`, `x5c`, `crit`, `b64`, `zip` …: the token would choose its own key or its own rules.
    #[error("the header carries `{0}`, which is never honoured")]
    Header(&'static str),
    /// Not an access token by its `typ`, or by what it claims: typically an ID token.
    #[error("the token is not an access token")]
    Type,
    /// `iss` is not configured.
    #[error("the issuer is not configured")]
    Issuer,
    /// No key of the issuer has that `kid` and algorithm.
    #[error("no key of the issuer fits the token")]
    Key,
    /// The signature does not verify.
    #[error("the signature is wrong")]
    Signature,
    /// `exp` is absent.
    #[error("`exp` is missing")]
    NoExpiry,
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid yet")]
    NotYet,
    /// `aud` does not name this service.
    #[error("the token is for another audience")]
    Audience,
    /// The issuer says that the token is not, or no longer, good.
    #[error("the issuer says that the token is not active")]
    Inactive,
    /// `cnf`: the token is bound to a client certificate that did not come with it, or to something that is not understood.
    #[error("the token is bound to another key than the connection's")]
    Binding,
    /// A claim has another shape than configured.
    #[error("the claim `{0}` has an unexpected shape")]
    Claim(String),
}

impl TokenFault {
    /// The error code and description of RFC 6750 section 3.1 that the caller may hear.
    pub fn public(&self) -> (&'static str, &'static str) {
        match self {
            Self::Oversize(_) | Self::Malformed(_) | Self::Duplicate | Self::Header(_) => {
                ("invalid_request", "the token is malformed")
            }
            Self::Expired => ("invalid_token", "the token has expired"),
            Self::NotYet => ("invalid_token", "the token is not valid yet"),
            Self::Audience => ("invalid_token", "the token is for another audience"),
            Self::Binding => {
                ("invalid_token", "the token is bound to a client certificate that was not shown")
            }
            Self::Claim(_) => ("invalid_token", "the token's claims cannot be understood"),
            _ => ("invalid_token", "the token is not accepted"),
        }
    }
}
