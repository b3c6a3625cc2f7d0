"""Messages that agents were done with, handled again from the record: what would other code have done?"""
