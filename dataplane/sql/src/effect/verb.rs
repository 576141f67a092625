//! The first keyword of a statement.

use wire::Class;

macro_rules! verbs {
    ($($variant:ident $word:literal $class:ident $plan:literal),* $(,)?) => {
        /// The first keyword of a statement.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Verb {
            $(#[doc = $word] $variant,)*
            /// No statement at all.
            Empty,
            /// Anything else.
            Other,
        }

        impl Verb {
            pub(super) fn of(word: &[u8]) -> Verb {
                $(if word.eq_ignore_ascii_case($word.as_bytes()) { return Verb::$variant; })*
                if word.is_empty() { Verb::Empty } else { Verb::Other }
            }

            /// The keyword as filters and metrics see it.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Verb::$variant => $word,)*
                    Verb::Empty => "EMPTY",
                    Verb::Other => "OTHER",
                }
            }

            pub(super) fn class(self) -> Class {
                match self {
                    $(Verb::$variant => Class::$class,)*
                    Verb::Empty => Class::Read,
                    Verb::Other => Class::Admin,
                }
            }

            /// Whether it may touch tables.
            pub(super) fn needs_plan(self) -> bool {
                match self {
                    $(Verb::$variant => $plan,)*
                    Verb::Empty => false,
                    Verb::Other => true,
                }
            }
        }
    };
}

// Word, class, and whether it may touch tables: then the planner decides where it goes.
verbs! {
    Select "SELECT" Read true,
    Insert "INSERT" Write true,
    Update "UPDATE" Write true,
    Delete "DELETE" Write true,
    Merge "MERGE" Write true,
    With "WITH" Read true,
    Values "VALUES" Read true,
    Table "TABLE" Read true,
    Explain "EXPLAIN" Read true,
    Copy "COPY" Read true,
    Begin "BEGIN" Read false,
    Start "START" Read false,
    Commit "COMMIT" Read false,
    End "END" Read false,
    Rollback "ROLLBACK" Read false,
    Abort "ABORT" Read false,
    Savepoint "SAVEPOINT" Read false,
    Release "RELEASE" Read false,
    Set "SET" Read false,
    Reset "RESET" Read false,
    Show "SHOW" Read false,
    Listen "LISTEN" Read false,
    Unlisten "UNLISTEN" Read false,
    Notify "NOTIFY" Write false,
    Discard "DISCARD" Read false,
    Deallocate "DEALLOCATE" Read false,
    Prepare "PREPARE" Read true,
    Execute "EXECUTE" Write false,
    Declare "DECLARE" Read true,
    Fetch "FETCH" Read false,
    Move "MOVE" Read false,
    Close "CLOSE" Read false,
    Lock "LOCK" Write true,
    Truncate "TRUNCATE" Write true,
    Call "CALL" Write true,
    Do "DO" Write true,
    Create "CREATE" Admin true,
    Alter "ALTER" Admin true,
    Drop "DROP" Admin true,
    Grant "GRANT" Admin true,
    Revoke "REVOKE" Admin true,
    Comment "COMMENT" Admin true,
    Vacuum "VACUUM" Admin true,
    Analyze "ANALYZE" Admin true,
    Cluster "CLUSTER" Admin true,
    Reindex "REINDEX" Admin true,
    Refresh "REFRESH" Admin true,
    Load "LOAD" Admin false,
    Checkpoint "CHECKPOINT" Admin false,
}
