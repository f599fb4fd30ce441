"""What all contenders share. Imports nothing, because some run in another environment."""

INPUT_QUEUE = "broker_input_queue"
OUTPUT_QUEUE = "broker_output_queue"
DEAD_LETTER_QUEUE = "broker_dead_letter_queue"
QUEUES = (INPUT_QUEUE, OUTPUT_QUEUE, DEAD_LETTER_QUEUE)
AGENTS = [f"agent-{number:03}" for number in range(100)]
PEER_PREFETCH = 200
