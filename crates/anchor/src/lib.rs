//! The tiny process under a session: parent of its apps, holder of what cannot be reopened; and the first process of each sandbox.
