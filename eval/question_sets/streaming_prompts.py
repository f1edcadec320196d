"""StreamingBench's prompts, letter for letter: of choices, of sequences, of what is polled for."""

_INSTRUCTION = (
    "You are an advanced video question-answering AI assistant. You have been provided with {} and "
    "a multiple-choice question related to the video. Your task is to carefully analyze the video "
    "and {}, choosing from the four options provided. Respond with only the letter (A, B, C, or D) "
    "of the correct option.\n\n"
)
_QUESTION = "Question: {}\n\nOptions:\n{}\n{}\n{}\n{}\n\nThe best option is:"

CHOICE = (
    _INSTRUCTION.format("some frames from the video", "provide the best answer to question")
    + _QUESTION
)
CHOICE_WITH_CONTEXT = (
    _INSTRUCTION.format("a video", "the provided context to answer the question")
    + "{}\n\nHere is the question. Answer it and don't confuse it with the previous conversation.\n"
    + _QUESTION
)
CONTEXT_START = (
    "Here are the contextual information related to the video. Please answer the questions based "
    "on the contextual information: "
)
CONTEXT_TURN = (
    "At timestamp {}, the following question and answer occurred: Question: {}; Options: {}; "
    "Answer: {}; "
)
PROACTIVE = (
    "You are an advanced image question-answering AI assistant. You have been provided with images "
    "and a question related to the images. Your task is to carefully analyze the images and "
    "provide the answer to the question. You need to carefully confirm whether the images content "
    "meet the conditions of the question, and then output the correct content.\n\n"
    "Question: {}\n\nThe answer is:\n"
)
IS_IT_TIME = '{} Is it the right time to output "{}"? You can only answer yes or no.'
