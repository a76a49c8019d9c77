//! What Bugzilla is to be asked about readers: from the server to the thread that asks. Knows neither
//! the question nor the answer.

use super::Reactor;
use crate::access::Answer;
use crate::asker::Questions;
use crate::moment::Moment;

impl Reactor {
    /// Has questions for Bugzilla asked.
    pub(crate) fn ask_by(&mut self, questions: Questions) {
        self.questions = Some(questions);
    }

    /// Hands on what Bugzilla is to be asked about readers.
    pub(super) fn hand_over_question(&mut self, now: Moment) {
        let Some(question) = self.server.take_question(now) else {
            return;
        };
        let number = question.number;
        let sent = self.questions.as_ref().map(|it| it.try_send(question));
        if sent != Some(true) {
            let answer = Answer { number, said: None };
            self.server.take_answer(answer, now);
        }
    }
}
