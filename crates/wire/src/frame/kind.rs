//! The kinds of frames and their numbers.

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal;)+) => {
        /// What a frame says; the number on the wire is `kind as u8`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[doc = $doc])+ $name = $number,)+
        }

        impl Kind {
            /// Every kind, in order of number.
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            /// The kind of this number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Kind> {
                match number {
                    $($number => Some(Kind::$name),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Dialling side to the other: who I am.
    Hello = 1;
    /// The answer to `Hello`.
    Welcome = 2;
    /// Either side: are you there?
    Ping = 3;
    /// The answer to `Ping`.
    Pong = 4;
    /// Either side: the end, and why.
    Goodbye = 5;
    /// Hub to client: a request is refused.
    Error = 6;
    /// Client to hub: a block.
    Publish = 16;
    /// Hub to client: a block reached its level.
    Ack = 17;
    /// Client to hub.
    Subscribe = 18;
    /// The answer to `Subscribe`.
    Subscribed = 19;
    /// Client to hub.
    Unsubscribe = 20;
    /// The answer to `Unsubscribe`.
    Unsubscribed = 21;
    /// Hub to client: a block.
    Deliver = 22;
    /// Hub to client: events that were dropped.
    Gap = 23;
    /// Client to hub: room for more.
    Credit = 24;
    /// Client to hub; answered by `Done`.
    StreamCreate = 32;
    /// Client to hub; answered by `Done`.
    StreamDelete = 33;
    /// Client to hub; answered by `StreamReports`.
    StreamInfo = 34;
    /// Client to hub; answered by `StreamReports`.
    StreamList = 35;
    /// Hub to client.
    StreamReports = 36;
    /// Hub to client.
    Done = 37;
    /// Client to hub; answered by `MeshReport`.
    MeshShow = 38;
    /// Hub to client.
    MeshReport = 39;
    /// Client to hub; answered by `WhyReport`.
    Why = 40;
    /// Hub to client: the answer to `Why`, or unasked when a publisher begins to wait.
    WhyReport = 41;
    /// Client to hub; answered by `ProfileReport`.
    Profile = 42;
    /// Hub to client.
    ProfileReport = 43;
    /// Hub to hub: a block.
    Forward = 48;
    /// Hub to hub: flooded.
    LinkState = 49;
    /// Hub to hub: flooded.
    Interest = 50;
    /// Hub to hub.
    Digest = 51;
    /// Hub to hub.
    Want = 52;
    /// Hub to hub: routed to its destination.
    FlowAck = 53;
    /// Hub to hub: room for more on a lane.
    LinkCredit = 54;
    /// Hub to hub: flooded.
    Pressure = 55;
    /// Client to hub; answered by `Done`.
    ConsumerCreate = 64;
    /// Client to hub; answered by `Done`.
    ConsumerDelete = 65;
    /// Client to hub; answered by `ConsumerReports`.
    ConsumerInfo = 66;
    /// Hub to client.
    ConsumerReports = 67;
    /// Client to hub; answered by `Consuming`.
    Consume = 68;
    /// Hub to client.
    Consuming = 69;
    /// Hub to client: events of a block for a member of a consumer.
    Handout = 70;
    /// Client to hub; answered by `Done` when it has a request.
    Settle = 71;
    /// Client to hub; answered by `Done`.
    ConsumerControl = 72;
    /// Client to hub: last values; answered by `Found`, as many as there are, then `Done`.
    LastGet = 74;
    /// Hub to client: a last value.
    Found = 75;
    /// Client to hub; answered by `Ack` once the level is reached.
    AwaitLevel = 76;
    /// Client to hub; answered by `Done`.
    StreamAlter = 77;
    /// Hub to hub, on links where both have agreed to it: frames of kind `Forward`, made smaller.
    Packed = 104;
    /// Client to hub; answered by `Governed`.
    Govern = 106;
    /// Hub to client.
    Governed = 107;
    /// Hub to hub: flooded.
    ReceiptAsk = 108;
    /// Hub to hub: back by the links that `ReceiptAsk` came by.
    ReceiptAck = 109;
    /// Client to hub; answered by `LiveReport`.
    LiveAsk = 110;
    /// Hub to client.
    LiveReport = 111;
    /// Hub to hub, on links of version 2 and later: flooded.
    Record = 112;
    /// Hub to hub, on links of version 2 and later: as `FlowAck`, of a flow of events that are bound to a label.
    BoundAck = 113;
    /// Hub to hub, on links of version 2 and later: as `FlowAck`, of a flow that takes another way than the main one.
    WayAck = 114;
    /// Hub to hub, to hubs whose records say that they take it: a block for one hub, by the hubs that it names.
    Detour = 115;
    /// Client to hub: where did it go? Answered by `Told`.
    Ask = 116;
    /// Hub to client: what hubs say to an `Ask`.
    Told = 117;
    /// Client to hub: why does it not reach a subscriber? Answered by `Told`.
    WhyNot = 118;
    /// Hub to hub, on links of version 2 and later, behind the `Forward`s of a lane; answered by `LinkCounted`.
    LinkLedger = 119;
    /// Hub to hub: the answer to `LinkLedger`.
    LinkCounted = 120;
    /// Hub to hub, version 2: what must be known before the link counts.
    LinkOpen = 124;
    /// Hub to hub, version 2: flooded.
    Conflict = 125;
    /// Hub to client, version 2: go on at another hub.
    Redirect = 126;
    /// Client to hub, version 2; answered by `Goodbye`.
    Leave = 127;
    /// Client to hub; answered by `DrainReport`.
    Drain = 128;
    /// Hub to client.
    DrainReport = 129;
    /// To a hub that issues certificates, on a connection of its own; answered by `Joined`.
    Join = 130;
    /// The answer to `Join`.
    Joined = 131;
    /// Hub to hub, on links of version 2 and later; where it differs, answered by `Digest`.
    DigestSum = 137;
    /// Client to hub; answered by `Told`.
    Survey = 138;
    /// Client to hub, from an administrator; answered by `Changes`.
    Change = 139;
    /// Client to hub, from an administrator; answered by `Changes`.
    Trial = 140;
    /// Hub to client.
    Changes = 141;
}

impl Kind {
    /// Whether the header's id means something; it is zero otherwise.
    #[must_use]
    pub const fn has_id(self) -> bool {
        !matches!(
            self,
            Self::Hello
                | Self::Welcome
                | Self::Goodbye
                | Self::Forward
                | Self::Packed
                | Self::Detour
                | Self::LinkState
                | Self::Interest
                | Self::Digest
                | Self::DigestSum
                | Self::Want
                | Self::FlowAck
                | Self::BoundAck
                | Self::WayAck
                | Self::LinkCredit
                | Self::LinkLedger
                | Self::LinkCounted
                | Self::Pressure
                | Self::ReceiptAsk
                | Self::ReceiptAck
                | Self::Record
                | Self::LinkOpen
                | Self::Conflict
                | Self::Redirect
                | Self::Leave
        )
    }

    /// The most bytes a frame of this kind has.
    #[must_use]
    pub const fn limit(self) -> usize {
        if self.has_block() || matches!(self, Self::Packed) { super::MAX_FRAME } else { super::MAX_CONTROL_FRAME }
    }

    /// Whether the frame carries a block.
    #[must_use]
    pub const fn has_block(self) -> bool {
        matches!(self, Self::Publish | Self::Deliver | Self::Forward | Self::Detour | Self::Handout | Self::Found)
    }
}
